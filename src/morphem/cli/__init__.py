"""The command line: knows the commands by name, and imports none before it is asked for."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

COMMANDS = {
    "demo": "simulate a moving molecule, find its parts and states, compare with the truth",
    "check": "whether poses, signs, units and CTF agree with the images, before anything runs",
    "reconstruct": "run a method on a particle file: morphem reconstruct METHOD PARTICLES -o RUN",
    "infer": "poses and latents of particles that a finished cryofire run never saw",
    "volumes": "maps of a finished run at states, particles, latents, or along a component",
    "report": "one page on a finished run that opens anywhere, and figures for papers",
    "view": "look at a run, or at what another program left, in the browser, live",
    "select": "name a subset of a run's particles: by expression, cluster, state or a lasso's file",
    "export": "a run or a subset for RELION, cryoSPARC or ChimeraX",
    "simulate": "particles whose truth is known",
    "evaluate": "how close a run on simulated particles came to their truth",
    "status": "how far a run is: stage, progress, time left",
    "methods": "list what `reconstruct` can do",
    "doctor": "look at this machine: packages, processors, memory, disk",
}
_DESCRIPTION = "Morphem finds the moving and missing parts of molecules in cryo-electron microscopy."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what comes back is the process's exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or bool(os.environ.get("MORPHEM_DEBUG"))
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(importlib.import_module("morphem").__version__)
        return 0
    if words[0] == "reconstruct" and words[1:2] in ([], ["-h"], ["--help"]):
        words = ["methods"]
    if words[0] not in COMMANDS:
        return _unknown(words[0])
    return _guarded(words[0], words[1:], debug)


def home(name: str) -> str:
    """The module where a command lives."""
    homes = {
        "check": "checking",
        "demo": "simulated",
        "evaluate": "evaluating",
        "export": "exporting",
        "infer": "inferring",
        "report": "seeing",
        "select": "exporting",
        "simulate": "simulating",
        "view": "seeing",
    }
    return f"morphem.cli.{homes.get(name, 'commands')}"


def overview() -> str:
    """The page that `morphem` alone prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    usage = "usage: morphem COMMAND ...      morphem COMMAND --help      --debug shows tracebacks"
    return "\n".join([_DESCRIPTION, "", usage, "", *lines])


def _unknown(name: str) -> int:
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else "`morphem` alone lists the commands"
    print(f"morphem: no command is called {name}; {hint}", file=sys.stderr)
    return 2


def _guarded(name: str, arguments: list[str], debug: bool) -> int:
    """Run a command; what users can mend is told in one message, everything else keeps its traceback."""
    warnings.formatwarning = _note
    try:
        if name == "methods":
            return importlib.import_module("morphem.cli.show").show_methods()
        return getattr(importlib.import_module(home(name)), name)(arguments)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough; nothing is left to say to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if debug:
            raise
        print(importlib.import_module("morphem.cli.errors").explain(error), file=sys.stderr)
        return 1


def _note(message: Warning | str, *where: object, **line: object) -> str:
    return f"note: {message}\n"
