"""A folder that shows a run in ChimeraX: states, motion, parts and arrows, each opened by a script."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.engine.files import write_json
from morphem.engine.reconstruction import Reconstruction
from morphem.report.drawing import COLOURS
from morphem.report.export.atoms import chain_name, write_cif
from morphem.report.export.maps import map_series
from morphem.report.export.mixtures import Arrow, Beads, arrows_of, beads_of, has_beads, part_colour
from morphem.report.export.states import Views, share_lines
from morphem.report.export.targets import RECORD, whole_folder

_SHAFT, _TIP = 0.9, 2.0  # Å, radii of an arrow
_FRAMES = 25  # of a morph, from one state to the next
_LOOK = ["set bgColor white", "lighting soft", "graphics silhouettes true"]
_VIEW = ["view orient", "view"]


def write_chimerax(
    found: Reconstruction, views: Views, out: Path, origin: tuple[float, float, float], about: dict[str, Any]
) -> Path:
    """Write maps, scripts and, for a mixture, its parts and arrows.

    ``open.cxc`` shows the states, ``morph.cxc`` turns each into the next, ``component.cxc`` runs along the
    first principal component. All maps have one contour, as they have one scale: a part that fades in a state
    is seen to fade. Views are the same in every script.

    Args:
        found: A finished run.
        views: Which maps.
        out: Folder, written whole or not at all.
        origin: Of the first voxel, x, y, z in Å.
        about: What else to note of the export; ``title`` is written above every script.
    """
    with whole_folder(out) as folder:
        states = map_series(found, views.states, folder, origin)
        level = states[0]["level"]
        along = [] if views.along is None else map_series(found, views.along, folder, origin, level)
        beads, arrows = None, []
        if has_beads(found):
            beads = beads_of(found, views)
            corner = corner_of(found, origin)
            arrows = arrows_of(beads)
            write_cif(beads, "parts", corner, folder / "parts.cif")
            if arrows:
                _write(folder / "displacement.bild", _bild(arrows, corner))
        head = f"# {about.get('title', 'A run')}, by Morphem. In a new ChimeraX session: open {{}}"
        _write(folder / "open.cxc", [head.format("open.cxc"), *_open(states, views, beads, bool(arrows))])
        if len(states) > 1:
            _write(folder / "morph.cxc", [head.format("morph.cxc"), *_morph(states)])
        if along:
            _write(folder / "component.cxc", [head.format("component.cxc"), *_series(along)])
        write_json(folder / RECORD, about | {"maps": states + along, "arrows": len(arrows)})
    return out


def corner_of(found: Reconstruction, origin: tuple[float, float, float]) -> Float[Tensor, "3"]:
    """Where the molecule's origin lies in the coordinates of maps whose first voxel is at ``origin``, Å."""
    return torch.tensor(origin) + found.grid.box // 2 * found.grid.pixel_size


def _open(states: list[dict[str, Any]], views: Views, beads: Beads | None, has_arrows: bool) -> list[str]:
    """The states as one model each, the first one shown; parts in colour, arrows beside them."""
    count = len(states)
    script = list(_LOOK)
    for number, (state, share) in enumerate(zip(states, share_lines(views.states), strict=True), 1):
        colour = COLOURS[(number - 1) % len(COLOURS)]
        script += [
            f"open {_quoted(state['map'])}",
            f"rename #{number} {_quoted(state['map'].removesuffix('.mrc') + ', ' + share)}",
            f"volume #{number} style surface step 1 level {state['level']:.6g} color {colour}",
        ]
    if beads is not None:
        script += ["open parts.cif", *_part_colours(beads, count)]
    if has_arrows:
        script += ["open displacement.bild"]
    script += _VIEW
    if count > 1:
        script += [f"hide #2-{count} models", f"mseries slider #1-{count}"]
    return script


def _part_colours(beads: Beads, count: int) -> list[str]:
    """Colour pseudo-atoms by part, and each state's surface by those of the same state."""
    atoms = count + 1
    parts = sorted(set(beads.part.tolist()))
    script = [f"color #{atoms}/{chain_name(part)} {part_colour(part)}" for part in parts]
    if len(parts) > 1:
        # one state is one model, several are its submodels
        models = [f"#{atoms}.{k}" for k in range(1, count + 1)] if count > 1 else [f"#{atoms}"]
        reach = 3 * float(beads.scales.median()) + 4  # Å
        script += [f"color zone #{k} near {model} distance {reach:.1f}" for k, model in enumerate(models, 1)]
    return [*script, f"hide #{atoms} models"]


def _morph(states: list[dict[str, Any]]) -> list[str]:
    """Every state turned into the next, there and back; densities fade, they do not travel."""
    count = len(states)
    opened = [f"open {_quoted(state['map'])}" for state in states]
    levels = [f"volume #{k} style surface level {state['level']:.6g}" for k, state in enumerate(states, 1)]
    frames = _FRAMES * (count - 1)
    return [
        *_LOOK,
        *opened,
        *levels,
        *_VIEW,
        f"volume morph #1-{count} frames {frames} playStep {1 / frames:.5f}",
    ]


def _series(along: list[dict[str, Any]]) -> list[str]:
    """Maps of the density itself along the component, as a volume series that swings there and back."""
    files = " ".join(_quoted(row["map"]) for row in along)
    return [
        *_LOOK,
        f"open {files} vseries true",
        f"volume #1 style surface step 1 level {along[0]['level']:.6g} color {COLOURS[0]}",
        *_VIEW,
        f"vseries play #1 loop true direction oscillate maxFrameRate 8 cacheFrames {len(along)}",
    ]


def _bild(arrows: list[Arrow], corner: Float[Tensor, "3"]) -> list[str]:
    """Arrows true to scale, in the colours of their parts."""
    lines = [
        ".comment Motion along the first principal component of the latents,",
        ".comment from its 5 % to its 95 % quantile, true to scale (Å).",
    ]
    for arrow in arrows:
        red, green, blue = (int(part_colour(arrow.part)[i : i + 2], 16) / 255 for i in (1, 3, 5))
        ends = [f"{value:.2f}" for point in (arrow.start, arrow.stop) for value in (point + corner).tolist()]
        # a head longer than the arrow would point backwards
        rho = max(0.3, 1 - 3 * _TIP / arrow.length)
        lines += [
            f".color {red:.3f} {green:.3f} {blue:.3f}",
            f".arrow {' '.join(ends)} {_SHAFT:g} {_TIP:g} {rho:.2f}",
        ]
    return lines


def _quoted(text: str) -> str:
    return shlex.quote(text).replace("'", '"')


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
