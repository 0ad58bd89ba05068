"""Rows that belong to particles, and the Adam that moves only those that were seen."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_BETAS = (0.9, 0.9)  # a row is seen once an epoch: longer memories would outlive the training
_EPSILON = 1e-8


class ParticleTable(nn.Module):
    """One row of numbers per particle, moved by row-wise Adam.

    Where every row is seen in every step this is ``torch.optim.Adam``; a row that is not seen does not move,
    and its moments do not decay.

    Args:
        rows: Where each row starts.
        learning_rate: Of Adam at the start of a descent.
    """

    rows: Float[Tensor, "p z"]
    mean: Float[Tensor, "p z"]
    square: Float[Tensor, "p z"]
    steps: Int[Tensor, "p"]

    def __init__(self, rows: Float[Tensor, "p z"], learning_rate: float) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self._taken: list[tuple[Tensor, Tensor]] = []
        self.register_buffer("rows", rows.detach().clone())
        self.register_buffer("mean", torch.zeros_like(rows))
        self.register_buffer("square", torch.zeros_like(rows))
        self.register_buffer("steps", torch.zeros(len(rows), dtype=torch.long, device=rows.device))

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, particle: Int[Tensor, "b"]) -> Float[Tensor, "b z"]:
        """The particles' rows; while gradients are recorded, theirs are kept for :meth:`gradients`."""
        taken = self.rows[particle]
        if torch.is_grad_enabled():
            taken.requires_grad_()
            self._taken.append((particle, taken))
        return taken

    def gradients(self) -> tuple[Int[Tensor, "b"], Float[Tensor, "b z"]]:
        """Particles read since the last call and the gradient of each reading; then forgets them."""
        taken, self._taken = self._taken, []
        seen = [(particle, row.grad) for particle, row in taken if row.grad is not None]
        if not seen:
            return self.steps.new_zeros(0), self.rows.new_zeros(0, self.rows.shape[1])
        return torch.cat([particle for particle, _ in seen]), torch.cat([grad for _, grad in seen])

    @torch.no_grad()
    def step(self, particle: Int[Tensor, "b"], gradient: Float[Tensor, "b z"], learning_rate: float) -> None:
        """Move the particles' rows down; gradients of a particle that occurs several times are added."""
        seen, place = particle.unique(return_inverse=True)
        total = gradient.new_zeros(len(seen), gradient.shape[1]).index_add_(0, place, gradient)
        mean = self.mean[seen].lerp(total, 1 - _BETAS[0])
        square = _BETAS[1] * self.square[seen] + (1 - _BETAS[1]) * total.square()
        steps = self.steps[seen] + 1
        bias_mean, bias_square = (1 - beta ** steps[:, None].to(total) for beta in _BETAS)
        self.rows[seen] -= learning_rate * (mean / bias_mean) / ((square / bias_square).sqrt() + _EPSILON)
        self.mean[seen], self.square[seen], self.steps[seen] = mean, square, steps
