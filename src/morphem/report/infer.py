"""Poses and latents of particles that a finished run never saw; the run stays as it is."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from morphem.core.grid import Grid
from morphem.data.checks import require_poses
from morphem.data.errors import DataError
from morphem.data.stack import ParticleStack
from morphem.engine.files import read_json
from morphem.engine.identity import method_name
from morphem.engine.reconstruction import Reconstruction, write_spread
from morphem.engine.run import Run, open_run
from morphem.engine.signals import stop_at_once
from morphem.inference.amortised import by_encoder
from morphem.inference.frozen import read_model
from morphem.inference.infer import by_particle, infer_images, searched_all
from morphem.methods.cryofire.paper import PaperConfig, mean_latents, trained
from morphem.methods.cryofire.paper import infer as infer_encoded
from morphem.methods.cryospire.settings import solving_of
from morphem.methods.cryospire.solving import infer as infer_latents
from morphem.report.api import keep_trace, ready, spare_source
from morphem.report.options import Preparation

_SAME = 1e-3  # relative difference of two extents that is taken for rounding
_METHODS = ("cryofire", "cryospire")


@dataclass(frozen=True)
class Config:
    """What makes an inference this one and no other."""

    run: str
    """Folder of the run whose maps or networks are used."""
    begun: str
    """When that run began."""
    proposals: Literal["search", "encoder"] = "search"
    """Where rough poses come from."""


def infer(
    run: Path | str,
    stack: ParticleStack,
    out: Path | str,
    proposals: Literal["search", "encoder"] = "search",
    preparation: Preparation = Preparation(),
    overwrite: bool = False,
) -> Reconstruction:
    """Poses and latents of unseen particles from a finished run, left in a folder like a run's.

    From a run of cryofire both; from one of cryospire latents, at the poses given.

    Args:
        run: Folder of the finished run.
        stack: New particles; poses are not needed where cryofire finds them.
        out: Folder of the results.
        proposals: Rough poses by a search of all rotations, or by an encoder trained on simulated images.
        preparation: How images are made ready; their box is the run's.
        overwrite: Whether to forget other results that are in the folder.
    """
    source, out = Path(run), Path(out)
    record = finished_run(source)
    if source.resolve() == out.resolve():
        raise DataError("PATH-004", f"{out} is the run that is asked; choose another folder (-o)")
    if stack.metadata is not None:
        spare_source(stack.metadata.source.path, out)
    grid = Grid(**read_json(source / "summary.json")["grid"])
    refuse_other_extent(stack.grid, grid, source)
    config = Config(str(source.resolve()), record["begun"], proposals)
    return _inferred(
        stack, record, config, replace(preparation, box=grid.box), open_run(out, config, stack, overwrite)
    )


def finished_run(folder: Path) -> dict[str, Any]:
    """``run.json`` of a finished run whose model can be asked.

    Raises:
        DataError: If the folder is none.
    """
    if not (folder / "run.json").exists():
        raise DataError("PATH-001", f"{folder} holds no run; give the folder of a finished one")
    record = read_json(folder / "run.json")
    name, by = method_name(record), record["identity"]["config"].get("by", "")
    if name not in _METHODS or (name == "cryospire" and by != "solving"):
        fix = f"reconstruct both sets together: morphem reconstruct {name} ALL_PARTICLES"
        met = f"{folder} is a run of {name}, whose latents are fitted to each particle while it trains"
        known = "only runs of cryofire, and of cryospire by its preset fast, read images that they never saw"
        raise DataError("RUN-002", f"{met}; {known}. To place them, {fix}")
    if not (folder / "summary.json").exists():
        raise DataError(
            "RUN-001", f"{folder} is a run that has not finished; `morphem status {folder}` tells how far"
        )
    return record


def refuse_other_extent(new: Grid, old: Grid, run: Path) -> None:
    """Raise an error unless images of one grid can be Fourier-cropped to the other."""
    mine, its = (f"{grid.box} pixels of {grid.pixel_size:g} Å" for grid in (new, old))
    met = f"the new images have {mine}, those of {run} {its}"
    if abs(new.extent / old.extent - 1) > _SAME:
        pixels = round(old.extent / new.pixel_size / 2) * 2
        fits = pixels <= new.box and abs(pixels * new.pixel_size / old.extent - 1) <= _SAME
        fix = f"--crop {pixels} gives them" if fits else "extract them with a box and pixel size that give"
        raise DataError("BOX-004", f"{met}; {fix} the same extent, {old.extent:g} Å")
    if new.box < old.box:
        raise DataError("PIX-002", f"{met}; extract them with pixels of {old.pixel_size:g} Å or less")


def _inferred(
    stack: ParticleStack, record: dict[str, Any], config: Config, preparation: Preparation, run: Run
) -> Reconstruction:
    source = Path(config.run)
    try:
        with stop_at_once():
            prepared = ready(stack, run.root / "cache", preparation)
            known = Reconstruction.load(source)
            prepared = replace(prepared, grid=known.grid)
            how = record["identity"]["config"]
            if method_name(record) == "cryospire":
                found = _found_in_mixture(prepared, known, how, config, run)
            else:
                found = _found(prepared, how, config, run)
            result = replace(known, provenance=run.provenance(), **found)
            result.save(run.root, stack)
    except Exception:
        keep_trace(traceback.format_exc(), run.root)
        raise
    return result


def _found(stack: ParticleStack, settings: dict[str, Any], config: Config, run: Run) -> dict[str, Any]:
    """Fields of a reconstruction: poses, latents and the history of how they came about."""
    if settings["by"] == "encoder":
        encoder = PaperConfig(**{**settings["encoder"], "seed": settings["seed"]})
        poses, each = infer_encoded(trained(stack.grid, encoder, Run(Path(config.run))), stack)
        return {"poses": poses, "latents": mean_latents(each, stack.particle), "history": {}}
    model = read_model(Path(config.run))
    proposals = {"search": searched_all, "encoder": by_encoder}[config.proposals]
    found = infer_images(stack, model, proposals, run)
    latents = by_particle(found.latents, stack.particle)
    write_spread(run.root, latents.covariance)
    facts = {"log_likelihood": float(found.fit.score.mean()), "contrast": found.gain.tolist()}
    return {"poses": found.fit.poses, "latents": latents.mean, "history": {"inference": [facts]}}


def _found_in_mixture(
    stack: ParticleStack, known: Reconstruction, settings: dict[str, Any], config: Config, run: Run
) -> dict[str, Any]:
    """Likewise, of particles at the poses given."""
    if stack.metadata is not None:
        require_poses(stack.metadata)
    solved = infer_latents(stack, Run(Path(config.run)), known, solving_of(settings), run)
    write_spread(run.root, solved.covariance)
    facts = {"log_posterior": float(solved.score.mean()), "contrast": float(solved.contrast.mean())}
    return {"poses": stack.poses, "latents": solved.mean, "history": {"inference": [facts]}}
