"""Settings of CryoSPIRE."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from morphem.data.stack import ParticleStack
from morphem.engine.descend import DescentConfig
from morphem.inference.latents import LatentConfig
from morphem.models.anchors import AnchorConfig

_ROUNDS = 2  # of poses that were found from images
_MOST = 16  # parts tried, at least, where pieces are joined
_AROUND, _WORTH = 9, 0.2  # of bodies in a finished mixture, whose Gaussians are sharper than coarse ones


@dataclass(frozen=True)
class MixtureConfig:
    """A mixture and its networks."""

    gaussians: int
    """Number of Gaussians."""
    scale: float
    """Initial standard deviation, fraction of the box; 0.6 pixels at least."""
    hidden: int
    """Units per hidden layer of each network."""
    layers: int
    """Hidden layers of each network of pairs, or products that a network sums."""
    amplitude: float = 0.15
    """Initial amplitude, in the unit in which that amplitude everywhere fits the start map."""


@dataclass(frozen=True)
class RateConfig:
    """Learning rates of Adam at the start of each stage."""

    centres: float = 2e-4
    """Positions, box units."""
    scales: float = 5e-3
    """Logarithms of the widths."""
    amplitudes: float = 5e-3
    """Amplitudes."""
    features: float = 5e-3
    """Features of the coarse mixture."""
    feature_offsets: float = 3e-3
    """Feature offsets of the fine mixture."""
    networks: float = 3e-3
    """Weights of the networks."""
    frames: float = 1e-3
    """Weights of the network that moves parts as rigid frames."""
    latents: float = 1e-1
    """Latents, by row-wise Adam."""


@dataclass(frozen=True)
class SolvingConfig:
    """A descent on mixtures and networks, and exact latents, in turn."""

    rounds: int = 6
    """Times at most that all latents are solved for in each mixture, which descends before and after."""
    gain: float = 0.01
    """Share of what it tells of images, in log-likelihood, that a mixture must have gained since latents were
    solved for, if they are to be solved for once more; and that it must gain by more frames, if parts are to
    move by these."""
    latents: LatentConfig = LatentConfig()
    """How."""
    fine_latents: Literal["drawn", "likeliest"] = "drawn"
    """The fine mixture descends at latents drawn from their posteriors, or (ablation) at the likeliest."""
    parts_limit: int = 14
    """Finest frequency that the coarse mixture sees, frequency pixels."""
    rigid_epochs: int = 4
    """Passes in which the fine mixture's parts are rigid and see no more than the coarse one did: so many for
    their densities at the motions that the coarse one shows, so many for both, and half as many more in which
    their Gaussians fade; 0 for none, nor are latents told anew or a moving part searched for before."""
    search: int = 2000
    """Images that tell whether to search the moving part's pose in every image; sets of fewer, and 0, have no
    such search."""
    contrast_spread: float = 0.2
    """Standard deviation of images' contrast until they tell it; 0 where all have the same."""
    most_gaussians: int = 16384
    """The fine mixture has one for each voxel of the molecule where that is more, up to so many."""

    def __post_init__(self) -> None:
        numbers = self.gain, self.contrast_spread, self.search
        if self.rounds < 1 or self.parts_limit < 1 or min(numbers) < 0:
            raise ValueError(f"{self}: a round is made at least, and no number is negative")


@dataclass(frozen=True)
class Config:
    """CryoSPIRE; the preset ``paper`` is the published method."""

    by: Literal["solving", "descent"] = "solving"
    """Latents solved for exactly between short descents, or (published) descending with all else."""
    solving: SolvingConfig = SolvingConfig()
    """How latents are solved for."""
    networks: Literal["products", "pairs"] = "products"
    """What moves Gaussians: products of a network of features and one of latents, or (published) a network
    of pairs of both."""
    latent: int = 4
    """Width of a particle's latent."""
    features: int = 24
    """Width of a Gaussian's feature."""
    parts: MixtureConfig = MixtureConfig(gaussians=1024, scale=0.02, hidden=32, layers=16)
    """Coarse mixture that finds the parts."""
    fine: MixtureConfig = MixtureConfig(gaussians=4096, scale=0.01, hidden=32, layers=16)
    """Fine mixture tied to the parts' anchors."""
    anchors: AnchorConfig = AnchorConfig(by="responses", neighbours=9)
    """How Gaussians are grouped into parts. By responses is by rigidity where images tell `solving.gain` more
    by the frames that this makes; and where poses were found from these images: they followed the motion in
    part, and as they see it, all parts move."""
    parts_descent: DescentConfig = DescentConfig(epochs=8, batch_size=64)
    """Training of the coarse mixture; of each round where latents are solved for."""
    fine_descent: DescentConfig = DescentConfig(epochs=4, batch_size=64)
    """Training of the fine mixture; of each round where latents are solved for."""
    pose_rounds: int = -1
    """How often poses are refined in the fine mixture, each image's at its own latent; -1: twice where they
    were found from these images, not at all where the particle file gave them."""
    pose_descent: DescentConfig = DescentConfig(epochs=2, batch_size=64)
    """Training of the fine mixture after each time."""
    beginnings: int = -1
    """How often all begins, each time at the poses that the last mixture told; -1: twice where poses were
    found from these images, once where the particle file gave them."""
    defocus_rounds: int = 0
    """How often defoci are corrected in the fine mixture, where latents are solved for; each time it trains
    as after poses. How widely corrections are spread is learned from all images of an optics group."""
    rates: RateConfig = field(default_factory=RateConfig)
    """Learning rates."""
    feature_spread: float = 0.1
    """Standard deviation of the features at the start."""
    latent_spread: float = 0.1
    """Standard deviation of the latents at the start."""
    latent_penalty: float = 0.1
    """Weight of the squared norm of an image's latent."""
    feature_penalty: float = 0.01
    """Weight of the squared norm of the feature offsets."""
    encoding: Literal["learned", "positional"] = "learned"
    """What tells Gaussians apart: learned features, or (ablation) an encoding of where they are."""
    frames: Literal["anchors", "none"] = "anchors"
    """Whether parts move as rigid frames, or (ablation) every Gaussian by itself."""
    noise: Literal["coloured", "white"] = "coloured"
    """White (published), or with the spectrum that each optics group's background shows."""
    start: Path | None = None
    """Map to start from; back-projected from the images unless given."""
    known_latents: Path | None = None
    """Latents that are known and stay as they are, .npy with one row per particle; learned unless given."""
    known_bodies: Path | None = None
    """Rigid bodies that are known, .npy with x, y, z (Å) and the number of its body in a row for each point
    of the molecule; found unless given."""
    threshold: float = 0.1
    """Voxels below this fraction of the brightest 0.1 % get no Gaussian."""
    seed: int = 0
    """Of every random choice."""

    def __post_init__(self) -> None:
        if self.pose_rounds < -1:
            raise ValueError(f"pose_rounds is {self.pose_rounds}; -1, 0 or more is meant")
        if self.beginnings < -1 or self.beginnings == 0:
            raise ValueError(f"beginnings is {self.beginnings}; -1, 1 or more is meant")
        if self.defocus_rounds < 0 or (self.defocus_rounds and self.by == "descent"):
            met = f"defocus_rounds is {self.defocus_rounds} and latents are found by {self.by}"
            raise ValueError(f"{met}; 0 or more can be made where they are found by solving")

    def rounds_of(self, stack: ParticleStack) -> int:
        """How often poses are refined."""
        return self.pose_rounds if self.pose_rounds >= 0 else _ROUNDS * stack.poses_found

    def seen_by(self, stack: ParticleStack) -> Config:
        """The same, with parts told by what no frame of the poses changes where these were found."""
        if not stack.poses_found or self.anchors.by != "responses":
            return self
        return replace(self, anchors=self.rigid())

    def ways(self) -> list[AnchorConfig]:
        """To tell parts apart, of which images choose where frames move them and no person told their number.

        By responses is the one that makes fewest, by rigidity at a lower price the one that makes most.
        """
        asked = self.solving.rigid_epochs and self.frames == "anchors" and self.known_bodies is None
        if not asked or self.anchors.count or self.anchors.by != "responses":
            return [self.anchors]
        return [self.anchors, self.rigid(), replace(self.rigid(), worth=_WORTH)]

    def rigid(self) -> AnchorConfig:
        """How Gaussians are grouped by rigidity."""
        return replace(self.anchors, by="rigidity", most=max(self.anchors.most, _MOST))

    def bodies(self) -> AnchorConfig:
        """How the Gaussians of a finished mixture are grouped."""
        return replace(self.rigid(), part_radius=0.0, around=_AROUND, worth=_WORTH)

    def beginnings_of(self, stack: ParticleStack) -> int:
        """How often all begins anew."""
        return self.beginnings if self.beginnings > 0 else 1 + stack.poses_found


def solving_of(settings: dict[str, Any]) -> Config:
    """What a run's record tells of how its latents were solved for."""
    how = settings["solving"]
    solving = SolvingConfig(**{**how, "latents": LatentConfig(**how["latents"])})
    return Config(solving=solving, noise=settings["noise"])


_PUBLISHED = Config(
    by="descent",
    networks="pairs",
    parts=MixtureConfig(gaussians=2048, scale=0.02, hidden=32, layers=1),
    fine=MixtureConfig(gaussians=8192, scale=0.01, hidden=128, layers=3),
    anchors=AnchorConfig(),
    parts_descent=DescentConfig(epochs=15, batch_size=64),
    fine_descent=DescentConfig(epochs=30, batch_size=64),
    noise="white",
    rates=RateConfig(frames=3e-3, feature_offsets=1e-3),
)
PRESETS = {
    "fast": Config(),
    "paper": _PUBLISHED,
    "quick": replace(
        _PUBLISHED,
        parts=MixtureConfig(gaussians=768, scale=0.02, hidden=32, layers=1),
        fine=MixtureConfig(gaussians=2048, scale=0.012, hidden=32, layers=2),
        anchors=AnchorConfig(by="responses", neighbours=9),
        parts_descent=DescentConfig(epochs=28, batch_size=64),
        fine_descent=DescentConfig(epochs=6, batch_size=64),
    ),
}
