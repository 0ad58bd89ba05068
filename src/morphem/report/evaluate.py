"""What was found in simulated particles, measured against their truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from morphem.core.fourier import resize_map
from morphem.core.types import Frame
from morphem.data.errors import DataError
from morphem.engine.files import write_json
from morphem.metrics.fsc import crossing
from morphem.metrics.latents import parts_ari
from morphem.report.evaluate_latents import decoded_occupancy, latent_scores
from morphem.report.evaluate_maps import SCORES, Compared, Yardstick, agreement, yardstick
from morphem.report.evaluate_pairs import Limits, MapPairs, compared, limits, pairs_by_image, pairs_by_state
from morphem.report.evaluate_plan import plan_maps
from morphem.report.evaluate_poses import found_frame, pose_scores
from morphem.report.evaluation_figure import draw_evaluation
from morphem.report.findings import Findings
from morphem.report.map_folder import read_map_folder
from morphem.report.results import Result, read_run
from morphem.report.score import Score
from morphem.simulate.bounds import CramerRao
from morphem.simulate.datasets import identity, read_truth
from morphem.simulate.particles import Truth

SCHEMA = 1


def open_result(path: Path, data: Path, truth: Truth) -> Result:
    """A run of ours, or what another program left in a folder."""
    if not path.exists():
        raise DataError("PATH-001", f"{path} does not exist; give a run's folder, or one of maps")
    if (path / "summary.json").exists():
        return read_run(path, data, truth)
    if (path / "run.json").exists():
        raise DataError(
            "RUN-001", f"{path} is a run that has not finished; `morphem status {path}` tells how far"
        )
    return read_map_folder(path, data, truth)


def evaluate(path: Path, data: Path, out: Path) -> dict[str, Any]:
    """Scores of a folder of results on the simulated set in ``data``; see :func:`evaluate_result`."""
    truth = read_truth(data)
    return evaluate_result(open_result(path, data, truth), truth, out)


def evaluate_result(result: Result, truth: Truth, out: Path) -> dict[str, Any]:
    """Every score that a result allows, with floor and ceiling, as ``docs/evaluate.md`` explains.

    They are written to ``out/evaluation.json`` and drawn in ``out/evaluation.png``.

    Args:
        result: On particles in the order of ``truth``.
        truth: Of every particle; junk is left out.
        out: Folder to write to.
    """
    findings = judged(result, truth, limits(truth))
    record = findings.written()
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "evaluation.json", record | {"curves": findings.curves()})
    draw_evaluation(findings, out / "evaluation.png")
    return record


def judged(result: Result, truth: Truth, known: Limits) -> Findings:
    """Scores of a result by the limits of its data set; nothing is written."""
    if result.latents is not None and len(result.latents) != len(truth):
        met = f"{len(result.latents)} latents but {len(truth)} true states"
        raise ValueError(f"{met}; evaluate a run on the whole simulated set")
    frame = found_frame(result.poses, truth)
    by = known.by if frame is None else _in_frame(truth, known, frame)
    plan = plan_maps(truth, result.latents)
    pairs = {
        "by_state": pairs_by_state(result, truth, plan, known, frame),
        "by_image": pairs_by_image(result, truth, plan, known, frame),
    }
    series = {name: compared(each, truth, known, by) for name, each in pairs.items() if each is not None}
    record = {
        "schema": SCHEMA,
        "result": result.facts,
        "dataset": _dataset(truth),
        "shells": {"last": by.last, "resolution_angstrom": truth.grid.extent / max(by.last, 1e-6)},
        "masks": {"mask_fraction": float(by.mask.mean()), "moving_fraction": float(by.moving.mean())},
        "maps": {name: _map_record(each, truth) for name, each in series.items()},
        "consensus": _consensus(result, known),
        "latents": _latent_record(result, truth, pairs["by_image"], known.bound),
        "parts": _parts_record(result, truth),
        "poses": _pose_record(result, truth, frame, known.bound),
    }
    record["cryofire"] = _cryofire(record)
    return Findings(result.latents, truth, series, record)


def _in_frame(truth: Truth, known: Limits, frame: Frame) -> Yardstick:
    """Masks and mean as a program sees them that found its own poses."""
    maps = torch.stack([truth.volume(state, frame).voxels for state in known.states])
    return yardstick(maps, known.shares, truth.grid, known.by.last)


def _dataset(truth: Truth) -> dict[str, Any]:
    return {
        "ensemble": truth.ensemble.name,
        "identity": identity(truth),
        "images": len(truth),
        "sound": int(truth.intact.sum()),
        "grid": asdict(truth.grid),
        "seed": truth.seed,
        "source": truth.source,
    }


def _map_record(series: Compared, truth: Truth) -> dict[str, Any]:
    """Scores of a series of maps, and resolutions at a masked correlation of 0.5 of its single maps."""
    shells = torch.tensor([crossing(fsc, 0.5) for fsc in series.found.masked.each()])
    rarest, commonest = (series.shares.argmin(), series.shares.argmax())
    pixels = truth.grid.box / shells.clamp(min=0.5)
    return {
        "count": len(series.shares),
        **series.scores(),
        "resolution_px": {
            "median": float(pixels.median()),
            "commonest_state": float(pixels[commonest]),
            "rarest_state": float(pixels[rarest]),
        },
    }


def _consensus(result: Result, known: Limits) -> dict[str, Any] | None:
    """Scores of a program's own map of all particles, taken for every state."""
    if result.consensus is None:
        return None
    map_of_all = resize_map(result.consensus.voxels, known.by.grid.box).expand_as(known.true)
    own = agreement(map_of_all, known.true, known.shares, known.by)
    return {name: Score(own.value(name, known.by.last, known.shares)) for name in SCORES}


def _pose_record(
    result: Result, truth: Truth, frame: Frame | None, bound: CramerRao
) -> dict[str, Any] | None:
    """Errors of poses, if the program found any."""
    if frame is None or result.poses is None:
        return None
    return pose_scores(result.poses, truth, frame, bound)


def _latent_record(
    result: Result, truth: Truth, pairs: MapPairs | None, bound: CramerRao
) -> dict[str, Any] | None:
    """Scores of latents, if there are any; sound particles only."""
    if result.latents is None or result.latents.shape[1] == 0:
        return None
    scores = latent_scores(result.latents[truth.intact], truth[truth.intact], bound)
    if pairs is not None:
        for name, score in decoded_occupancy(pairs.found, pairs.true, pairs.states, truth.ensemble).items():
            scores["bodies"].setdefault(name, {})["occupancy_auroc_decoded"] = score
    return scores


def _parts_record(result: Result, truth: Truth) -> dict[str, Any] | None:
    """Parts beside rigid bodies, in the sound particle nearest to the middle of those that are complete."""
    labels, bodies = truth.ensemble.labels, truth.ensemble.bodies(truth.state)
    if result.parts is None or bodies is None or int(labels.max()) < 1:
        return None
    complete = ((bodies.presence.amin(1) > 0) & truth.intact).nonzero().flatten()
    if not len(complete):
        return None
    own = truth.state[complete]
    chosen = int(complete[(own - own.mean(0)).square().sum(1).argmin()])
    true, _ = truth.ensemble.points(truth.state[chosen][None])
    parts = result.parts(chosen)
    found = parts_ari(parts.centres, parts.part, true[0], labels)
    return {"adjusted_rand": Score(found, None, 0.0, 1.0)}


def _cryofire(record: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of cryoFIRE's tables, where there are any."""
    found: dict[str, Any] = {}
    if "by_state" in record["maps"]:
        resolution = record["maps"]["by_state"]["resolution_px"]
        found |= {f"resolution_px_{name}": resolution[f"{name}_state"] for name in ("commonest", "rarest")}
    if record["poses"] is not None:
        poses = record["poses"]
        found |= {f"view_rad_{name}": poses["view_rad"][name] for name in ("median", "mean")}
        found |= {f"shift_px_{name}": poses["shift_px"][name] for name in ("median", "mean")}
    clusters = (record["latents"] or {}).get("clusters", {})
    if clusters:
        found["confusion"] = clusters["confusion_of_first_component"]
    return found
