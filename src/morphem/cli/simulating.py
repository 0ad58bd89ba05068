"""The command that makes particles whose truth is known."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from morphem.simulate.options import RECIPES, TIERS, Conditions, Motion, Scattering

if TYPE_CHECKING:
    from morphem.core.grid import Grid
    from morphem.simulate.ensembles import AbstractEnsemble
    from morphem.simulate.particles import Truth

_Flat = tyro.conf.arg(name="")


@dataclass(frozen=True)
class SimulateOptions:
    """Particles of a molecule in exactly known states, as .mrcs and .star with their truth beside them.

    Recipes, at tiers tiny (2,000 images of 32 px), small (10,000 of 64) and standard (100,000 of 128):
    hinge, built in: a domain that swings by 60°, one that 30 % lack; igg-1d: an antibody whose Fab turns a
    full circle (needs 1hzh.pdb); igg-rl: whose Fab hangs on random linkers (igg1d_recipe.npz,
    igg_rl_recipe.npz); ribosembly: a large ribosomal subunit in 16 states of assembly (4v5a); ratchet: a
    ribosome whose small subunit turns (4v5a).
    """

    source: tyro.conf.Positional[tuple[str, ...]] = ()
    """A recipe by name, a structure (.pdb, .cif, .npz), or maps of states (.mrc)."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("simulated")
    """Folder to write to; the same command goes on where it was stopped."""
    tier: Literal["tiny", "small", "standard"] = "small"
    """Numbers and SNR to begin with."""
    structures: Path | None = None
    """Folder of the structure files that recipes need."""
    particles: Path | None = None
    """Particle file (.star, .cs) on whose rows to simulate: its poses, optics groups, CTFs."""
    measure_noise: bool = False
    """Whether noise shall have the spectrum of the background of that file's images."""
    images: int | None = None
    """How many; the tier's, or all rows of the particle file."""
    box: int | None = None
    """Pixels along a side."""
    pixel_size: float | None = None
    """Å."""
    seed: int = 0
    """Of everything random."""
    workers: int = 0
    """Processes; 0 is one for each processor."""
    seen: Annotated[Conditions, _Flat] = Conditions()
    motion: Annotated[Motion, _Flat] = Motion()
    atoms: Scattering = Scattering()

    def __post_init__(self) -> None:
        if self.particles is not None and self.pixel_size is not None:
            met = (
                f"--pixel-size {self.pixel_size:g} was given, but {self.particles} says how large pixels are"
            )
            raise ValueError(f"{met}; leave it out, and give --box for more or fewer over the same extent")
        if self.measure_noise and self.particles is None:
            met = "--measure-noise was given without images to measure"
            raise ValueError(f"{met}; name their file with --particles, or give --noise-colour")


def simulate(arguments: list[str]) -> int:
    """Write a simulated set."""
    options = _parsed(arguments)
    from morphem.engine.progress import Progress
    from morphem.engine.signals import stop_at_once
    from morphem.simulate.datasets import write_dataset

    with stop_at_once():
        truth = _planned(options)
        made = 0
        with Progress(None, "simulate", len(truth)) as progress:

            def told(images: int) -> None:
                nonlocal made
                made += images
                progress.advance(made, {})

            print(write_dataset(options.out, truth, options.workers or os.cpu_count() or 1, told))
    return 0


def _parsed(arguments: list[str]) -> SimulateOptions:
    """What was asked for; conditions are the recipe's and the tier's by default, as ``--help`` shows."""
    words = [word for word in arguments if word not in ("-h", "--help")]
    named = tyro.cli(SimulateOptions, args=words, prog="morphem simulate")
    recipe = RECIPES[next((source for source in named.source if source in RECIPES), "igg-1d")]
    usual = SimulateOptions(seen=recipe.seen(named.tier))
    return tyro.cli(SimulateOptions, args=arguments, prog="morphem simulate", default=usual)


def _planned(options: SimulateOptions) -> Truth:
    """Every image's truth."""
    from morphem.simulate.build import build
    from morphem.simulate.datasets import plan
    from morphem.simulate.semi_real import read_rows

    if not options.source:
        raise ValueError(f"what to simulate? A recipe ({', '.join(RECIPES)}), a structure, or maps")
    ensemble = build(options.source, options.motion, options.atoms, options.structures)
    if options.particles is None:
        images = options.images or TIERS[options.tier].images
        return plan(ensemble, images, _grid(options, ensemble), options.seed, options.seen)
    rows = read_rows(options.particles, options.box, options.measure_noise)
    return plan(ensemble, options.images or len(rows), rows.grid, options.seed, options.seen, rows)


def _grid(options: SimulateOptions, ensemble: AbstractEnsemble) -> Grid:
    """The box and pixel size asked for, the recipe's, or what holds the molecule one and a half times."""
    from morphem.core.grid import Grid
    from morphem.simulate.maps import MapEnsemble

    box = options.box or TIERS[options.tier].box
    if options.pixel_size is not None:
        return Grid(box, options.pixel_size)
    if options.source[0] in RECIPES:
        return Grid(box, RECIPES[options.source[0]].pixel_size(options.tier) * TIERS[options.tier].box / box)
    if isinstance(ensemble, MapEnsemble):
        extent = ensemble.voxels.shape[-1] * ensemble.pixel_size
    else:
        positions, _ = ensemble.points(ensemble.landmarks(1)[0])
        extent = 3 * float(positions.norm(dim=-1).max())
    return Grid(box, math.ceil(extent / box * 100) / 100)
