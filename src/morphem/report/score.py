"""A number with what it should be seen between."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Score:
    """A number, its uncertainty, and the ends of its scale.

    Attributes:
        value: As measured; None where it could not be.
        interval: 95 %, by bootstrap over states, or over particles where latents are judged.
        floor: Of one who knows nothing of the states.
        ceiling: Of one who knows all but the densities, or the Cramér–Rao bound.
        ceiling_by_state: Of one who reconstructs every state from its own images alone.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    floor: float | None = None
    ceiling: float | None = None
    ceiling_by_state: float | None = None

    @property
    def normalised(self) -> float | None:
        """``(value − floor) / (ceiling − floor)``: 0 at the floor, 1 at the ceiling."""
        if self.value is None or self.floor is None or self.ceiling is None or self.ceiling == self.floor:
            return None
        return (self.value - self.floor) / (self.ceiling - self.floor)

    def record(self) -> dict[str, Any]:
        """What is known of it, as JSON would hold it."""
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        return known | {"interval": self.interval and list(self.interval), "normalised": self.normalised}
