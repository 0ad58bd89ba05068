"""How parts move, taken from a coarse mixture, so that a fine one need not find it again.

From rest, a descent turns a part by a few tens of degrees; beyond that it rather lets Gaussians flow from
where density was to where it is. A coarse mixture shows where each part goes; its best rigid motions are what
the fine mixture's frames begin with.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.models.anchors import Anchors, Behaviour, rigid_motion
from morphem.models.gaussian_density import AnchoredMixture, PartMixture

_SHOWN_AT = 2048  # latents at which the coarse mixture shows how its parts move
_STEPS, _BATCH, _RATE = 1500, 256, 3e-3
_LEVER = 0.1  # of the box: by how much a turn by 1 rad moves a part, to weigh turns against shifts


def teach_frames(
    mixture: AnchoredMixture,
    anchors: Anchors,
    coarse: tuple[PartMixture, Behaviour],
    latents: Float[Tensor, "p z"],
    seed: int,
) -> None:
    """Fit the motion of each part to the best rigid motion (Kabsch) of its coarse Gaussians.

    Args:
        mixture: Whose frames are to move so; nothing else of it changes.
        anchors: Its parts.
        coarse: The mixture that shows it, and its behaviour, at rest where ``mixture`` is.
        latents: Of all particles.
        seed: Of the batches.
    """
    some = latents[:: max(1, len(latents) // _SHOWN_AT)]
    fit_frames(mixture, some, _rigid_motions(mixture, anchors, coarse, some), seed)


def fit_frames(
    mixture: AnchoredMixture,
    latents: Float[Tensor, "m z"],
    motions: tuple[Float[Tensor, "m a 3 3"], Float[Tensor, "m a 3"]],
    seed: int,
) -> None:
    """Fit the motion of each part to turns about its anchor's place, and shifts (box units), at latents."""
    turn, shift = motions
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(mixture.motion.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        rows = torch.randint(len(latents), (min(_BATCH, len(latents)),), generator=generator)
        found_turn, found_shift = mixture.frames(latents[rows])
        turned = (found_turn - turn[rows]).square().sum((-1, -2)).mean() * _LEVER**2
        loss = turned + (found_shift - shift[rows]).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _rigid_motions(
    mixture: AnchoredMixture,
    anchors: Anchors,
    coarse: tuple[PartMixture, Behaviour],
    latents: Float[Tensor, "m z"],
) -> tuple[Float[Tensor, "m a 3 3"], Float[Tensor, "m a 3"]]:
    """Turn of each part about its anchor's place, and its shift (box units), at each latent."""
    density, rest = coarse
    moved = torch.cat([density.mixture(block).centres for block in latents.split(64)]) / density.extent
    turns, shifts = [], []
    for part, place in enumerate(mixture.anchor_centres):
        member = anchors.part == part
        turn, centre, centres = rigid_motion(rest.home[member], moved[:, member], rest.mass[member])
        turns.append(turn)
        shifts.append(centres - place + (place - centre) @ turn.mT)
    return torch.stack(turns, 1), torch.stack(shifts, 1)
