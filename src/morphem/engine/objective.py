"""What can be minimised over particles."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from morphem.core.types import Particles
from morphem.models.table import ParticleTable


class AbstractObjective(nn.Module, ABC):
    """Something that can be minimised over particles.

    Whatever it must not forget lies in parameters, buffers and tables; random numbers come from torch's
    global generator, whose state is part of every checkpoint.
    """

    @abstractmethod
    def terms(self, batch: Particles, seen: int) -> dict[str, Tensor]:
        """Scalars whose sum is minimised, each a mean over the batch (or free of it) and logged by its name.

        ``seen`` counts the images seen before this batch and drives schedules. The same terms reach the same
        parameters whatever the batch.
        """

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, object]]:
        """Parameters with their learning rate at the start: ``{"params": [...], "lr": ...}`` each."""

    def tables(self) -> dict[str, ParticleTable]:
        """Tables of per-particle rows, moved by row-wise Adam."""
        return {}
