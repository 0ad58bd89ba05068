"""The way back to cryoSPARC: rows of the original datasets bit for bit, and a result group to import."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float

from morphem import __version__
from morphem.data.cs import CsSource, load_dataset
from morphem.data.errors import DataError
from morphem.data.record import write_metadata
from morphem.report.export.source import Chosen
from morphem.report.export.targets import together

_MODE = re.compile(r"components_mode_(\d+)/")
_TYPES = {"components_mode": "components", "alignments_class": "alignments3D"}


def write_cs(chosen: Chosen, columns: Mapping[str, np.ndarray], out: Path, with_poses: bool = False) -> Path:
    """Write the original rows of the chosen images and of each passthrough dataset, and a result group.

    ``uid`` and every other field keep their bits. Latents are in the slots of 3D Variability,
    ``components_mode_k``, after those that the original has.

    Args:
        chosen: Which images.
        columns: To add as ``morphem/NAME``, one value or row for each image.
        out: A ``.cs`` file, or the ``.csg`` of the result group; the other one is written beside it.
        with_poses: Whether to write the run's poses in place of the file's ``alignments3D``.

    Raises:
        DataError: ``EXPORT-001`` if the particles did not come from cryoSPARC.
    """
    source = chosen.metadata.source
    if not isinstance(source, CsSource):
        message = (
            f"{source.path} is not cryoSPARC's: its particles have no uid there, and none can be invented"
        )
        fix = "export with --to star, and give that to cryoSPARC's Import Particle Stack"
        raise DataError("EXPORT-001", f"{message}; {fix}")
    modes = _components(chosen.latents, _first_free(source))
    with together(out, chosen.originals) as place:
        dataset = place.with_suffix(".cs")
        poses = chosen.poses if with_poses else None
        write_metadata(chosen.metadata, dataset, rows=chosen.images, extra={**columns, **modes}, poses=poses)
        group = place.with_suffix(".csg")
        group.write_text(_result_group(dataset, out.stem), encoding="utf-8")
    return out


def _first_free(source: CsSource) -> int:
    """Number of the first mode that no dataset has."""
    names = [name for dataset in (source.dataset, *source.passthroughs) for name in dataset.dtype.names or ()]
    taken = [int(found[1]) for found in map(_MODE.match, names) if found]
    return max(taken, default=-1) + 1


def _components(latents: Float[np.ndarray, "n z"], first: int) -> dict[str, np.ndarray]:
    """Fields that 3D Variability writes: number of the component, and its value for each particle."""
    fields: dict[str, np.ndarray] = {}
    for mode, values in enumerate(latents.T, first):
        fields[f"components_mode_{mode}/component"] = np.full(len(values), mode, np.uint32)
        fields[f"components_mode_{mode}/value"] = values.astype(np.float32)
    return fields


def _result_group(dataset: Path, name: str) -> str:
    """YAML of a result group: which dataset holds which result, the first where several do."""
    results: dict[str, tuple[str, int]] = {}
    beside = sorted(path for path in dataset.parent.glob("*.cs") if path != dataset)
    for path in (dataset, *beside):
        records = load_dataset(path)
        for field in records.dtype.names or ():
            result, slash, _ = field.partition("/")
            if slash and result != "morphem":
                results.setdefault(result, (path.name, len(records)))
    lines = [
        f"created: {datetime.now(UTC).replace(tzinfo=None).isoformat(sep=' ')}",
        "group:",
        f"  description: {json.dumps(f'{name}: particles chosen with Morphem {__version__}')}",
        "  name: particles",
        "  title: Particles",
        "  type: particle",
        "results:",
    ]
    for result, (file, count) in sorted(results.items()):
        lines += [
            f"  {result}:",
            f"    metafile: '>{file}'",
            f"    num_items: {count}",
            f"    type: particle.{_TYPES.get(re.sub(r'_[0-9]+$', '', result), result)}",
        ]
    return "\n".join([*lines, "version: v4.0.0", ""])
