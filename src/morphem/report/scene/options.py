"""What a user states about a page; torch is not needed to read it."""

from __future__ import annotations

from dataclasses import dataclass

MOST_STATES = 20


@dataclass(frozen=True)
class SceneOptions:
    """What a page shows, and how large it may become."""

    states: int = 0
    """States to show, at most 20; 5 by default, fewer where there are few particles."""
    box: int = 128
    """Voxels along a side of the maps, at most."""
    steps: int = 9
    """Maps along each principal component."""
    megabytes: float = 25.0
    """Size of a page on disk, at most; maps are made coarser until it fits."""
    drawn: int = 200_000
    """Particles that a page on disk holds, at most; the live one holds all."""
    measured: int = 10_000
    """Images that states are held against, all states together; 0 leaves them unmeasured."""

    def __post_init__(self) -> None:
        if not 0 <= self.states <= MOST_STATES:
            raise ValueError(f"{self.states} states were asked for; a page shows 1 to {MOST_STATES}")
        if self.box < 16 or self.steps < 2 or self.drawn < 1 or self.measured < 0:
            raise ValueError(f"{self}: box is at least 16, steps 2, drawn 1, measured 0")
        if self.megabytes < 1:
            raise ValueError(f"a page of {self.megabytes:g} MB has no room for maps; give at least 1")


USUAL = SceneOptions()
