"""Defoci corrected in the fine mixture, and what there is to say of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.data.stack import ParticleStack
from morphem.engine.files import read_json, write_json
from morphem.engine.ranks import is_main
from morphem.engine.run import Run
from morphem.inference.defocus import Focused, Spread, refine_defocus
from morphem.inference.latents import Scene
from morphem.inference.passes import remembered
from morphem.models.gaussian_density import AnchoredMixture


def refocused_in(
    fine: AnchoredMixture,
    latents: Float[Tensor, "p z"],
    seen: tuple[ParticleStack, Scene],
    run: Run,
    number: int,
) -> tuple[ParticleStack, Scene]:
    """The particles and their stored images with corrected defoci, once a run and round.

    ``defocus.json`` tells of each round, by optics group, what corrections came to (Å).
    """
    stack, scene = seen

    def found() -> dict[str, Tensor]:
        focused, spread = refine_defocus(fine, latents, scene, run)
        return {**vars(focused), "group_mean": spread.mean, "group_deviation": spread.deviation}

    kept = remembered(run.stage(f"fine-{number}-defocus"), {"limit": scene.limit}, found)
    spread = Spread(kept.pop("group_mean"), kept.pop("group_deviation"))
    focused = Focused(**kept)
    if is_main():
        path = run.root / "defocus.json"
        before = read_json(path)["rounds"][: number - 1] if number > 1 else []
        write_json(path, {"rounds": [*before, told(focused, spread, stack)]})
    optics = stack.optics.with_defoci(stack.optics.defoci + focused.change[:, None])
    return replace(stack, optics=optics), replace(scene, store=replace(scene.store, optics=optics))


def told(focused: Focused, spread: Spread, stack: ParticleStack) -> dict[str, object]:
    """What a report says of one round; changes in Å, log-likelihood a mean over images."""
    images = torch.bincount(stack.group, minlength=len(spread.mean)).tolist()
    groups = zip(images, spread.mean.tolist(), spread.deviation.tolist(), strict=True)
    return {
        "log_likelihood_gain": float(focused.gain.mean()),
        "median_uncertainty": float(focused.deviation.median()),
        "groups": [{"images": n, "mean": mean, "deviation": deviation} for n, mean, deviation in groups],
    }
