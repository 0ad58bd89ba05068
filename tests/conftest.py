"""Fixtures that every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
if not torch.cuda.is_available():  # Triton asks when it is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real particle data; a test that asks for it is skipped where it is absent."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("MORPHEM_SHARED_DATA", default))
    if not (folder / "MANIFEST.md").exists():
        pytest.skip(f"real particle data not found at {folder}; set MORPHEM_SHARED_DATA")
    return folder
