"""A network that tells the likely rotations of an image from circles of its transform."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

_DILATIONS = (1, 2, 4, 1, 2)
_KERNEL = 5  # angles


class PolarEncoder(nn.Module):
    """Logits of every view direction at every turn in the plane.

    All layers are convolutions along the angle, which ends where it begins: of an image that is turned in its
    plane the logits are the same, moved along the turns. So no turn has to be learned.

    Args:
        circles: Channels of an image: real and imaginary part on each circle.
        views: View directions told apart.
        width: Of the hidden layers.
    """

    def __init__(self, circles: int, views: int, width: int = 64) -> None:
        super().__init__()
        self.first = _along(circles, width, 1)
        self.hidden = nn.ModuleList([_along(width, width, dilation) for dilation in _DILATIONS])
        self.norms = nn.ModuleList([nn.GroupNorm(1, width) for _ in _DILATIONS])
        self.last = nn.Conv1d(width, views, 1)

    def forward(self, rings: Float[Tensor, "b c m"]) -> Float[Tensor, "b v m"]:
        """Logits by view and turn, of circles sampled at as many angles."""
        hidden = nn.functional.gelu(self.first(rings))
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            hidden = hidden + nn.functional.gelu(layer(norm(hidden)))
        return self.last(hidden)


def _along(before: int, after: int, dilation: int) -> nn.Conv1d:
    reach = _KERNEL // 2 * dilation
    return nn.Conv1d(before, after, _KERNEL, padding=reach, dilation=dilation, padding_mode="circular")
