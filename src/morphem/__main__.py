"""``python -m morphem`` and ``torchrun -m morphem``."""

from __future__ import annotations

import sys

from morphem.cli import main

sys.exit(main())
