"""Learning rates as pure functions of the images seen."""

from __future__ import annotations

import math


def cosine(seen: int, total: int, floor: float = 0.0, warm_up: int = 0) -> float:
    """Factor that rises linearly over ``warm_up`` images, then falls as a half cosine from 1 to ``floor``."""
    if seen < warm_up:
        return (seen + 1) / warm_up
    progress = min(1.0, (seen - warm_up) / max(1, total - warm_up))
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
