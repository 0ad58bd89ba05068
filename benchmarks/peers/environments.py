"""Where peers live: a virtual environment each, so that nothing of theirs meets anything of ours."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Peer:
    """A program of others.

    Attributes:
        name: On PyPI, and of its command.
        version: That the figures were made with.
        licence: In a few words.
        first: Requirements to install before all others and without what they require.
        consent: Whether a person must agree to the licence first.
    """

    name: str
    version: str
    licence: str
    first: tuple[str, ...] = ()
    consent: bool = False

    def program(self, folder: Path) -> Path:
        """Its command in an environment."""
        return folder / "bin" / self.name


PEERS = {
    # from the builds that bring no CUDA where pip finds them, as the Makefile does for Morphem
    "cryodrgn": Peer("cryodrgn", "4.3.1", "GPL-3.0", first=(_TORCH,)),
    "recovar": Peer("recovar", "1.0.5", "Princeton University academic, non-commercial", consent=True),
}


def install(peer: Peer, folder: Path, agreed: bool = False) -> Path:
    """Make the peer's environment and return its command.

    Raises:
        PermissionError: If its licence asks for consent that was not given.
    """
    if peer.consent and not agreed:
        met = f"{peer.name} is under the licence: {peer.licence}"
        raise PermissionError(f"{met}; read it, and repeat with --accept-licence if your use is allowed")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.write("".join(f"{requirement}\n" for requirement in peer.first))
        pins.flush()
        for requirement in peer.first:
            subprocess.run([*pip, "--no-deps", requirement], check=True)
        subprocess.run([*pip, "-c", pins.name, f"{peer.name}=={peer.version}"], check=True)
    return peer.program(folder)


def installed(name: str, folder: Path) -> Path:
    """The peer's command.

    Raises:
        FileNotFoundError: If it is not there, with what to do.
    """
    program = PEERS[name].program(folder)
    if not program.exists():
        consent = " --accept-licence" if PEERS[name].consent else ""
        todo = f"python -m benchmarks.peers install {name} --into {folder}{consent}"
        raise FileNotFoundError(f"{program} is not there; make it with\n  {todo}")
    return program


def version(name: str, folder: Path) -> str:
    """Of the peer in an environment."""
    ask = f"import importlib.metadata; print(importlib.metadata.version({name!r}))"
    said = subprocess.run([folder / "bin" / "python", "-c", ask], check=True, capture_output=True, text=True)
    return said.stdout.strip()
