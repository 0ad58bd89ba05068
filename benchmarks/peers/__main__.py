"""python -m benchmarks.peers install cryodrgn --into FOLDER"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.peers.environments import PEERS, install


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Install other programs.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("install", help="make a virtual environment that holds a peer")
    command.add_argument("name", choices=PEERS)
    command.add_argument("--into", type=Path, required=True, help="folder of the environment")
    command.add_argument("--accept-licence", action="store_true", help="you may use it under its licence")
    given = parser.parse_args()
    try:
        print(install(PEERS[given.name], given.into, given.accept_licence))
    except PermissionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
