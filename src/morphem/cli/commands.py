"""Each command as a few lines over the Python API."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import tyro

from morphem.cli.show import show_rows
from morphem.data.options import MetadataOptions
from morphem.report.options import Choice, Preparation

Config = TypeVar("Config")
Argument = tyro.conf.Positional


@dataclass(frozen=True)
class DoctorOptions:
    """What this machine offers, and what would stop a run on it."""

    folder: Annotated[Path, tyro.conf.Positional] = Path()
    """Where runs would be written."""
    json: bool = False
    """Print JSON."""


def doctor(arguments: list[str]) -> int:
    """Examine the machine; 1 if something would stop a run."""
    from morphem.report.doctor import examine

    options = tyro.cli(DoctorOptions, args=arguments, prog="morphem doctor")
    findings = examine(options.folder)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        show_rows([(finding.name, finding.value, finding.problem) for finding in findings])
    return int(any(finding.problem for finding in findings))


@dataclass(frozen=True)
class ParticleOptions:
    """A particle file and how to read it."""

    particles: Argument[Path]
    """Particle file: .star, .cs, .csg or .pkl."""
    crop: int | None = None
    """Pixels to keep around the origin; needed where the box is odd."""
    input: Annotated[MetadataOptions, tyro.conf.arg(name="")] = field(default_factory=MetadataOptions)
    """Companion files, and values that win over the particle file."""


@dataclass(frozen=True)
class ReconstructOptions(Generic[Config]):
    """From particles to results in a folder; the same command goes on after a kill."""

    source: Annotated[ParticleOptions, tyro.conf.arg(name="")]
    """The particles."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The run's folder."""
    config: Config
    """The method."""
    preparation: Annotated[Preparation, tyro.conf.arg(name="")] = field(default_factory=Preparation)
    """How images are made ready."""
    preset: str = ""
    """Ready-made configuration of the method to start from."""
    overwrite: bool = False
    """Forget another run that is in the folder."""


def reconstruct(arguments: list[str]) -> int:
    """Run a method."""
    from morphem.data.stack import open_stack
    from morphem.engine.ranks import is_main
    from morphem.report.api import begin, preset_of, run_method

    method, *words = arguments
    config = preset_of(method, _option(words, "--preset"))
    kind = ReconstructOptions[Annotated[type(config), tyro.conf.arg(name="", default=config)]]
    options = tyro.cli(kind, args=words, prog=f"morphem reconstruct {method}")
    source = options.source
    # as it was typed: ./abinit is a folder
    poses, companions = _pose_source(_option(words, "--poses"), source.input)
    stack = open_stack(source.particles, companions, source.crop)
    run = begin(method, stack, options.config, options.out, options.overwrite, poses)
    run_method(method, stack, options.config, run, options.preparation, poses)
    if is_main():
        print(f"results are in {options.out}")
    return 0


def _pose_source(word: str, companions: MetadataOptions) -> tuple[str, MetadataOptions]:
    """Where a method's poses come from, and the files to be read with the particles."""
    if not word or word.endswith(".pkl"):
        return "given", companions
    return word, replace(companions, poses=None)


def _option(words: list[str], name: str) -> str:
    """Value of an option that must be known before the others are; empty where it is absent."""
    given = [after for word, after in zip(words, [*words[1:], ""], strict=True) if word == name]
    given += [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    return given[-1] if given else ""


@dataclass(frozen=True)
class VolumeOptions:
    """Maps of a finished run; several kinds may be asked for at once."""

    run: Argument[Path]
    """The run's folder."""
    choice: Annotated[Choice, tyro.conf.arg(name="")]
    """Which."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Where to write the maps; RUN/volumes by default."""
    like: Path | None = None
    """Map whose origin to take, so that both overlay; zero by default, as in RELION and cryoSPARC."""
    refined: bool = False
    """Add what the images have over and above the mixture, carried along with each rigid part."""
    particle_file: Path | None = None
    """The particle file, where it has moved; refined maps need the images."""


def volumes(arguments: list[str]) -> int:
    """Write maps of a run."""
    options = tyro.cli(VolumeOptions, args=arguments, prog="morphem volumes")
    from morphem.report.api import load
    from morphem.report.volumes import write_volumes

    out, found = options.out or options.run / "volumes", load(options.run)
    decode = None
    if options.refined:
        from morphem.report.refined import refined_decoder, write_agreement

        decode, maps = refined_decoder(options.run, found, options.particle_file)
        out.mkdir(parents=True, exist_ok=True)
        write_agreement(maps, found, out)
    paths = write_volumes(found, options.choice, out, options.like, decode)
    print(f"{len(paths)} maps in {out}; {out / 'open.cxc'} opens them in ChimeraX")
    return 0


@dataclass(frozen=True)
class StatusOptions:
    """How far a run is."""

    run: Argument[Path]
    """The run's folder."""


def status(arguments: list[str]) -> int:
    """Show a run's last sign of life."""
    file = tyro.cli(StatusOptions, args=arguments, prog="morphem status").run / "status.json"
    facts = json.loads(file.read_text(encoding="utf-8"))
    facts["written"] = f"{time.time() - file.stat().st_mtime:.0f} s ago"
    show_rows([(name.replace("_", " "), str(value)) for name, value in facts.items()])
    return 0
