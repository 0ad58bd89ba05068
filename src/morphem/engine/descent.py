"""Where a descent stands: one step further, or as it was when it was saved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from morphem.core.types import Particles
from morphem.engine import ranks
from morphem.engine.objective import AbstractObjective
from morphem.engine.schedules import cosine


@dataclass(frozen=True)
class DescentConfig:
    """Stochastic gradient descent by Adam, its learning rates falling as a cosine."""

    epochs: int
    """Passes over all images."""
    batch_size: int
    """Images per step, all processes together."""
    seed: int = 0
    """Of the order of images and of the objective's random numbers."""
    learning_rate_floor: float = 0.05
    """Learning rates at the end, fraction of those at the start."""
    warm_up: int = 0
    """Images over which learning rates rise from zero."""
    largest_gradient: float = 0.0
    """Gradients of the networks and maps are scaled down to this norm; 0 leaves them."""
    checkpoint_minutes: float = field(default=5.0, metadata={"changes_result": False})
    """Time between checkpoints, besides those at the end of each epoch."""
    device: str = field(default="auto", metadata={"changes_result": False})
    """cpu, cuda, or auto: cuda where there is one."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"{self.epochs} epochs in batches of {self.batch_size}: both are at least 1")
        ranks.named_device(self.device)
        if not 0 <= self.learning_rate_floor <= 1:
            raise ValueError(f"learning_rate_floor {self.learning_rate_floor} is a fraction, 0 to 1")


class Descent:
    """An objective on its way down.

    Attributes:
        objective: What is minimised.
        epoch: Epochs done.
        batch: Batches done of the next.
        history: Mean of each term, by epoch.
        strikes: Steps left out in a row because they were no numbers.
        halvings: How often learning rates were halved for that reason.
    """

    def __init__(self, objective: AbstractObjective, config: DescentConfig, images: int) -> None:
        self.objective, self.config, self.images = objective, config, images
        self.epoch = self.batch = self.strikes = self.halvings = 0
        self.history: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}
        self._counted = 0
        # an objective may consist of tables alone, which Adam would refuse
        self._adam = torch.optim.Adam(objective.parameter_groups() or [{"params": []}])
        self._rates = [group["lr"] for group in self._adam.param_groups]

    @property
    def done(self) -> bool:
        """Whether every epoch is over."""
        return self.epoch >= self.config.epochs

    @property
    def seen(self) -> int:
        """Images seen."""
        return self.epoch * self.images + min(self.batch * self.config.batch_size, self.images)

    @property
    def steps(self) -> int:
        """Batches seen."""
        return self.epoch * -(-self.images // self.config.batch_size) + self.batch

    @property
    def total(self) -> int:
        """Images to be seen."""
        return self.config.epochs * self.images

    @property
    def means(self) -> dict[str, float]:
        """Mean of each term over the epoch so far."""
        return {name: value / self._counted for name, value in self._sums.items()}

    def step(self, batch: Particles, share: float) -> bool:
        """Move down by one batch, of which this process has ``share``; False if that would be no number."""
        self._adam.zero_grad()
        terms = self.objective.terms(batch, self.seen)
        torch.stack(list(terms.values())).sum().backward()
        values = torch.stack([value.detach() for value in terms.values()])
        dense = [p.grad for group in self._adam.param_groups for p in group["params"] if p.grad is not None]
        ranks.average([*dense, values], share)
        rows = self._row_gradients(share)
        norm = get_total_norm(dense) if dense else values.new_zeros(())
        sizes = [values.sum(), norm, *(gradient.norm() for _, gradient in rows.values())]
        finite = bool(torch.stack(sizes).isfinite().all())
        if finite:
            self._move(rows, norm)
            self._count(dict(zip(terms, values.tolist(), strict=True)))
        self.batch += 1
        return finite

    def end_epoch(self) -> dict[str, float]:
        """Close the epoch; the mean of each of its terms."""
        self.epoch, self.batch = self.epoch + 1, 0
        self.history.append({"epoch": self.epoch, **self.means})
        self._sums, self._counted = {}, 0
        return self.history[-1]

    def rate(self) -> float:
        """Factor on all learning rates."""
        config = self.config
        falling = cosine(self.seen, self.total, config.learning_rate_floor, config.warm_up)
        return falling * 0.5**self.halvings

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that :meth:`unpack` needs to go on exactly from here."""
        tensors = {f"objective.{name}": value for name, value in self.objective.state_dict().items()}
        for index, moments in self._adam.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": value for name, value in moments.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_initialized():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        names = ("epoch", "batch", "strikes", "halvings", "history")
        record = {name: getattr(self, name) for name in names}
        return tensors, {**record, "sums": self._sums, "counted": self._counted}

    def unpack(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Go back to what :meth:`pack` saw."""
        self.objective.load_state_dict(_under("objective.", tensors))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _under("adam.", tensors).items():
            index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = value
        self._adam.load_state_dict({**self._adam.state_dict(), "state": moments})
        for name in ("epoch", "batch", "strikes", "halvings", "history"):
            setattr(self, name, record[name])
        self._sums, self._counted = record["sums"], record["counted"]
        self._restore_random(tensors)

    def _row_gradients(self, share: float) -> dict[str, tuple[Int[Tensor, "b"], Float[Tensor, "b z"]]]:
        """Particles of each table that the batch reached and their gradients, from all processes."""
        rows = {}
        for name, table in self.objective.tables().items():
            particle, gradient = table.gradients()
            # a process without share adds nothing, not even 0 · NaN
            mine = slice(None) if share else slice(0)
            rows[name] = ranks.gather_rows(particle[mine]), ranks.gather_rows(share * gradient[mine])
        return rows

    def _move(
        self, rows: dict[str, tuple[Int[Tensor, "b"], Float[Tensor, "b z"]]], norm: Float[Tensor, ""]
    ) -> None:
        groups, factor = self._adam.param_groups, self.rate()
        if self.config.largest_gradient:
            parameters = [p for group in groups for p in group["params"]]
            clip_grads_with_norm_(parameters, self.config.largest_gradient, norm)
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self._adam.step()
        for name, table in self.objective.tables().items():
            table.step(*rows[name], table.learning_rate * factor)

    def _count(self, terms: dict[str, float]) -> None:
        count = min(self.config.batch_size, self.images - self.batch * self.config.batch_size)
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + count * value
        self._counted += count

    def _restore_random(self, tensors: dict[str, Tensor]) -> None:
        if not ranks.is_main():
            # only the main process's state was saved; the others begin anew, each apart
            torch.manual_seed(self.config.seed + ranks.rank() + ranks.world() * self.steps)
            return
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random.cuda"])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
