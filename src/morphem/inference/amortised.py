"""Rough poses by a network that is trained on images simulated from the model itself.

Their labels are exact and without end. What the network proposes is judged by the likelihood; images whose
best proposal explains less than a right pose does are searched.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from morphem.core.rotations import geodesic_distance, random_rotations
from morphem.core.types import Volume
from morphem.engine import ranks
from morphem.engine.progress import Progress
from morphem.engine.run import Run
from morphem.engine.signals import Interrupted, stop_requests
from morphem.inference.frozen import FrozenModel
from morphem.inference.hypotheses import distinct
from morphem.inference.infer import FIRST, Guesses, by_search, empty_guesses, put_guesses, sifted
from morphem.inference.passes import blocks, remembered, shared
from morphem.inference.refine import Products, map_products
from morphem.inference.rings import Rings, rings, turned_views
from morphem.inference.search import Hypotheses, ramps, shifts
from morphem.inference.store import Coefficients, Store
from morphem.inference.templates import Templates, template, templates
from morphem.models.polar_encoder import PolarEncoder

_VIEWS = 192  # 14° apart, like the turns in the plane: a proposal is within 7° of the pose it stands for
_SHARPNESS = math.radians(7)  # by which the label of a pose spreads to its neighbours
_PROPOSED = 48  # of an image, which the likelihood cuts down
_TRIED = 6  # of those, refined
_BLOCK = 64  # images read at a time
_RIGHT = math.radians(12)  # from the truth: refinement gets there
_TESTS = 1024  # simulated images by which likelihoods of right poses are known
_LOST = 0.03  # of right poses, sent to the search in vain
_LOG = logging.getLogger("morphem")


@dataclass(frozen=True)
class EncoderConfig:
    """Training of the network."""

    images: int = 80_000
    """Simulated images it is trained on."""
    batch_size: int = 256
    """Of a step."""
    learning_rate: float = 2e-3
    """Of Adam; it falls to zero over the second half."""
    seed: int = 0
    """Of the simulated images and the first weights."""


@dataclass(frozen=True)
class Labelled:
    """Simulated images and how they were made."""

    images: Coefficients
    rotation: Float[Tensor, "b 3 3"]


class Simulator:
    """Images of the model as a store's would look: its optics, noise and contrast; all rotations and latents.

    Args:
        store: Whose noise and mean contrast are known.
        model: Of a finished search.
        seed: Of everything random.
    """

    def __init__(self, store: Store, model: FrozenModel, seed: int) -> None:
        directions = [Volume(each, model.space.grid) for each in model.space.directions]
        self.maps: Templates = templates([model.mean, *directions], store.disc, FIRST)
        self.store, self.model = store, model
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> Labelled:
        """Some images."""
        generator = self.generator
        rotation = random_rotations(count, generator)
        z = torch.randn(len(self.model.space), count, 1, generator=generator)
        mean, *directions = self.maps.slices(rotation)
        for amount, slices in zip(z, directions, strict=True):
            mean = mean + amount * slices
        row = torch.randint(len(self.store), (count,), generator=generator)
        transfer = self.store.read(row, FIRST).transfer
        contrast = 1 + self.model.spread * torch.randn(count, 1, generator=generator)
        signal = contrast.clamp(min=0.2) * transfer * ramps(self.store.disc, FIRST, self._shift(count)) * mean
        noise = torch.randn(mean.shape, dtype=mean.dtype, generator=generator)
        return Labelled(Coefficients(signal + noise, transfer), rotation)

    def _shift(self, count: int) -> Float[Tensor, "b 2"]:
        """Evenly spread over the disk that is searched, Å."""
        radius = (
            self.model.reach * self.model.grid.extent * torch.rand(count, generator=self.generator).sqrt()
        )
        angle = 2 * math.pi * torch.rand(count, generator=self.generator)
        return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


@dataclass(frozen=True)
class Amortised:
    """A trained network and all that its proposals are judged with.

    Attributes:
        network: Tells likely rotations.
        rings: What it reads.
        rotation: Of its classes.
        slices: Of the model at those.
        shift: Å.
        moves: Ramp of each shift.
        products: Of images with the model.
    """

    network: PolarEncoder
    rings: Rings
    rotation: Float[Tensor, "r 3 3"]
    slices: Complex[Tensor, "r m"]
    shift: Float[Tensor, "t 2"]
    moves: Complex[Tensor, "t m"]
    products: Products

    @torch.no_grad()
    def guesses(self, images: Coefficients) -> tuple[Guesses, Float[Tensor, "b"]]:
        """The likeliest proposals, refined a little, and how well the best explains its image.

        The second is the log-likelihood over that expected of an average slice at the image's optics.
        """
        logits = self.network(self.rings.of(images)).flatten(1)
        found = self._scored(images, logits.topk(_PROPOSED, dim=1).indices)
        guesses, score = sifted(images, self.products, distinct(found, self.rotation, self.shift, _TRIED))
        return guesses, score / (images.transfer.square() / self.rings.noise).sum(1)

    def _scored(self, images: Coefficients, proposed: Int[Tensor, "b k"]) -> Hypotheses:
        """Proposed classes, each at its best shift, with log-likelihoods as of a search."""
        slices = torch.view_as_real(self.slices[proposed])
        moved = (images.values * images.transfer)[:, None] * self.moves.conj()
        product = slices.flatten(2) @ torch.view_as_real(moved).flatten(2).mT
        power = (slices.square().sum(-1) @ images.transfer.square()[..., None])[..., 0]
        best = product.max(2)
        return Hypotheses(proposed, best.indices, 2 * best.values - power)


def by_encoder(
    store: Store, model: FrozenModel, run: Run | None = None, config: EncoderConfig = EncoderConfig()
) -> Guesses:
    """Guesses of a network that is trained first; those that the likelihood doubts are searched instead."""
    amortised = trained_on(store, model, config, run)
    rows, found, quality = torch.arange(len(store)), empty_guesses(len(store)), torch.zeros(len(store))
    for block in blocks(rows, _BLOCK, run, "encoder"):
        guesses, quality[block] = amortised.guesses(store.read(block, FIRST))
        put_guesses(found, block, guesses)
    ranks.sum_tensors([quality])
    found = shared(found)
    doubted = rows[doubtful(quality, expected_quality(amortised, store, model, config.seed))]
    _LOG.info("proposals doubted, and searched instead: %d of %d", len(doubted), len(rows))
    searched = by_search(store, doubted, model, run)
    put_guesses(found, doubted, searched[doubted])
    return found


def trained_on(store: Store, model: FrozenModel, config: EncoderConfig, run: Run | None = None) -> Amortised:
    """A network trained on simulated images like those of a store; a run remembers it."""
    rotation = turned_views(_VIEWS)
    simulator = Simulator(store, model, config.seed)
    slices, lattice = template(model.mean, store.disc, FIRST).slices(rotation)[0], _lattice(store, model)
    power = _by_shell(slices.abs().square().mean(0), store.disc.shells(FIRST))
    read = rings(store.disc, FIRST, power, simulator.draw(_TESTS).images)
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        network = PolarEncoder(2 * FIRST, _VIEWS)

    def make() -> dict[str, Tensor]:
        _train(network, read, simulator, config, run)
        return dict(network.state_dict())

    identity = {"seed": config.seed, "images": config.images, "batch": config.batch_size}
    network.load_state_dict(make() if run is None else remembered(run.stage("encoder"), identity, make))
    moves, products = ramps(store.disc, FIRST, lattice), map_products(model.mean, store.disc, FIRST)
    return Amortised(network.eval(), read, rotation, slices, lattice, moves, products)


def expected_quality(amortised: Amortised, store: Store, model: FrozenModel, seed: int) -> Float[Tensor, "q"]:
    """How well right poses explain simulated images; nothing where fewer than half are right."""
    drawn = Simulator(store, model, seed + 1).draw(_TESTS)
    guesses, quality = amortised.guesses(drawn.images)
    right = geodesic_distance(guesses.rotation[:, 0], drawn.rotation) < _RIGHT
    share = float(right.float().mean())
    _LOG.info("the encoder's best guess is right for %.1f %% of simulated images", 100 * share)
    return quality[right] if share > 0.5 else quality[:0]


def doubtful(quality: Float[Tensor, "n"], right: Float[Tensor, "q"]) -> Bool[Tensor, "n"]:
    """Images explained worse than all but a few of right poses, in units of either's median."""
    if not len(right):
        return torch.ones_like(quality, dtype=torch.bool)
    least = right.quantile(_LOST) / right.median()
    return quality < least * quality.median()


def _train(
    network: PolarEncoder, read: Rings, simulator: Simulator, config: EncoderConfig, run: Run | None
) -> None:
    """Cross-entropy with labels that spread a little; cost about 1 ms an image."""
    optimizer, rotation = torch.optim.Adam(network.parameters()), turned_views(_VIEWS)
    steps = math.ceil(config.images / config.batch_size)
    folder = None if run is None else run.root
    with stop_requests() as stop, Progress(folder, "training", steps * config.batch_size) as progress:
        for step in range(steps):
            rate = config.learning_rate * min(1, (step + 1) / 50, 2 * (steps - step) / steps)
            optimizer.param_groups[0]["lr"] = rate
            drawn = simulator.draw(config.batch_size)
            logits = network(read.of(drawn.images)).flatten(1)
            loss = -(_labels(drawn.rotation, rotation) * logits.log_softmax(1)).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.advance(progress.seen + config.batch_size, {"cross_entropy": float(loss.detach())})
            if code := ranks.largest(stop.code):
                raise Interrupted(code)


def _labels(rotation: Float[Tensor, "b 3 3"], classes: Float[Tensor, "r 3 3"]) -> Float[Tensor, "b r"]:
    trace = rotation.flatten(1) @ classes.flatten(1).T
    angle = torch.acos(((trace - 1) / 2).clamp(-1, 1))
    return torch.softmax(-(angle / _SHARPNESS).square() / 2, 1)


def _by_shell(power: Float[Tensor, "m"], shells: Int[Tensor, "m"]) -> Float[Tensor, "m"]:
    total = torch.zeros(int(shells.max()) + 1).index_add_(0, shells, power)
    return (total / torch.bincount(shells).clamp(min=1))[shells]


def _lattice(store: Store, model: FrozenModel) -> Float[Tensor, "t 2"]:
    return shifts(store, FIRST, model.reach * store.disc.grid.extent)
