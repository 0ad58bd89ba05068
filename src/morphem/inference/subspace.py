"""What differs between particles, as a mean map and a few directions: probabilistic PCA at known poses.

A particle's density is ``V₀ + Σ_j z_j V_j`` with z ~ N(0, I) beforehand; images are its slices with noise.
Given the maps, z has a closed form (Tagare et al., J. Struct. Biol. 2015); given z, every frequency of the
maps is a small linear system (3DVA: Punjani & Fleet, J. Struct. Biol. 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.fourier import half_plane_weights, shells_3d, to_fourier_3d, to_real_3d
from morphem.core.grid import Grid
from morphem.core.types import PerParticle, Volume
from morphem.engine import ranks
from morphem.engine.half_maps import mean_weight
from morphem.engine.run import Run
from morphem.inference.maps import Halves
from morphem.inference.passes import blocks, put, shared
from morphem.inference.refine import Fit
from morphem.inference.search import ramps
from morphem.inference.store import Store
from morphem.inference.templates import PADDING, Templates, plane_of, templates, working_grid
from morphem.physics.inserted_slices import InsertedSlices
from morphem.physics.slices import solve_joint_insertion

_BLOCK = 128  # images of a batch
_LEAST, _MOST = 1e-3, 0.999  # signal's share that the filter reckons with


@dataclass(frozen=True)
class Subspace:
    """A mean map and directions, on a working grid in grey values of the images.

    Attributes:
        mean: Of all particles.
        directions: Such that z has variance 1 along each; by falling power.
        grid: Of the maps.
    """

    mean: Float[Tensor, "d d d"]
    directions: Float[Tensor, "q d d d"]
    grid: Grid

    def __len__(self) -> int:
        return len(self.directions)

    def first(self, count: int) -> Subspace:
        """The mean and the first directions alone."""
        return replace(self, directions=self.directions[:count])


@dataclass(frozen=True)
class Latents(PerParticle):
    """Where particles are in a subspace.

    Attributes:
        mean: Posterior mean.
        covariance: Posterior covariance.
        evidence: Log-likelihood, z integrated out, above that of the mean map alone.
    """

    mean: Float[Tensor, "n q"]
    covariance: Float[Tensor, "n q q"]
    evidence: Float[Tensor, "n"]


@dataclass(frozen=True)
class Setting:
    """Images whose poses are known.

    Attributes:
        store: The images.
        fit: Poses and contrasts of all of them.
        limit: Frequency pixels used.
        mask: Beyond which maps are zero, on the working grid.
        share: Signal's share of a map of all images, by shell.
    """

    store: Store
    fit: Fit
    limit: int
    mask: Float[Tensor, "d d d"]
    share: Float[Tensor, "s"]


@dataclass(frozen=True)
class MixedSums:
    """Inserted slices of images each of which shows a mixture of the same maps.

    Attributes:
        numerator: ``Σ a_j C y`` of each map j, a the expectation of ``(1, z)``.
        weight: ``Σ a_j a_l C²`` of all pairs j ≤ l, row after row of the upper triangle.
    """

    numerator: Complex[Tensor, "k e e q"]
    weight: Float[Tensor, "_ e e q"]


@dataclass(frozen=True)
class Spread:
    """Other coordinates of the same densities: ``root⁻¹ (z − centre)``, of mean 0 and covariance I.

    Attributes:
        centre: Mean of z.
        root: Of its covariance, ``root rootᵀ``.
    """

    centre: Float[Tensor, "q"]
    root: Float[Tensor, "q q"]

    def of_maps(self, space: Subspace) -> Subspace:
        """The mean map and the directions that go with these coordinates."""
        mean = space.mean + torch.einsum("q,qzyx->zyx", self.centre, space.directions)
        return Subspace(mean, torch.einsum("qj,qzyx->jzyx", self.root, space.directions), space.grid)

    def of_latents(self, latents: Latents) -> Latents:
        """The same particles in these coordinates."""
        back = torch.linalg.inv(self.root)
        mean = (latents.mean - self.centre) @ back.T
        return Latents(mean, back @ latents.covariance @ back.T, latents.evidence)


def setting(store: Store, fit: Fit, halves: Halves, limit: int) -> Setting:
    """Images at their poses, filtered as far as two halves agree."""
    share = 2 * halves.fsc.clamp(min=0) / (1 + halves.fsc.clamp(min=0))
    return Setting(store, fit, limit, halves.mask, share.clamp(_LEAST, _MOST))


def find_subspace(
    where: Setting, rows: Int[Tensor, "m"], count: int, passes: int, seed: int, run: Run | None = None
) -> Subspace:
    """Directions of greatest variance by expectation–maximisation, from random ones.

    After each pass the directions take over the spread of z, which speeds convergence (Liu, Rubin & Wu 1998),
    and lose what a rigid motion of the whole would do. Cost of a pass: the slices and insertions of
    ``1 + q`` maps and ``(q + 1)(q + 2) / 2`` weights.
    """
    generator = torch.Generator().manual_seed(seed)
    n = len(where.store)
    z = torch.randn(n, count, generator=generator)
    drawn = Latents(z, torch.zeros(n, count, count), torch.zeros(n))
    space = maximised(where, rows, drawn, run)
    for _ in range(passes):
        space = maximised(where, rows, infer_latents(where, rows, space, run), run)
    return ordered(where, space)


def infer_latents(where: Setting, rows: Int[Tensor, "m"], space: Subspace, run: Run | None = None) -> Latents:
    """Posterior of z for images ``rows``; rows of others are zero."""
    store, n, q = where.store, len(where.store), len(space)
    found = no_latents(n, q)
    maps = _templates(space, store, where.limit)
    for block in blocks(rows, _BLOCK, run, "latents"):
        put(found, block, _posterior(where, block, maps))
    return shared(found)


def no_latents(n: int, width: int) -> Latents:
    """Latents of ``n`` images, zero."""
    return Latents(torch.zeros(n, width), torch.zeros(n, width, width), torch.zeros(n))


def maximised(where: Setting, rows: Int[Tensor, "m"], latents: Latents, run: Run | None = None) -> Subspace:
    """The maps that explain images best, given what is known of z; free of rigid motions."""
    space = explained(where, mixed_sums(where, rows, latents, run))
    return without_rigid_motion(where, spread_of(latents[rows]).of_maps(space))


def mixed_sums(where: Setting, rows: Int[Tensor, "m"], latents: Latents, run: Run | None = None) -> MixedSums:
    """Slices of images ``rows``, inserted with what is known of their z, of all processes."""
    grid, q = working_grid(where.store.disc.grid, where.limit), latents.mean.shape[1]
    pairs = torch.triu_indices(q + 1, q + 1)
    sums = InsertedSlices(PADDING * grid.box, q + 1, pairs.shape[1])
    plane = plane_of(where.store.disc, where.limit)
    for block in blocks(rows, _BLOCK, run, "directions"):
        values, power, rotation = _backprojected(where, block)
        first, second = _moments(latents[block])
        weights = second[:, pairs[0], pairs[1]].T[:, :, None] * power
        sums.add(first.T[:, :, None] * values, weights, rotation, plane)
    ranks.sum_tensors([sums.cells])
    return MixedSums(sums.numerators(), sums.densities())


def explained(where: Setting, sums: MixedSums) -> Subspace:
    """The maps that explain what was inserted best."""
    grid = working_grid(where.store.disc.grid, where.limit)
    density = mean_weight(sums.weight[0], grid)
    regulariser = density.clamp(min=1e-6 * float(density.max())) * (1 - where.share) / where.share
    voxels = solve_joint_insertion(sums.numerator, sums.weight, grid, regulariser)
    voxels = voxels * (where.mask * (grid.box**2 / where.store.disc.grid.box))
    return Subspace(voxels[0], voxels[1:], grid)


def spread_of(latents: Latents) -> Spread:
    """Mean and covariance of z over particles, what each leaves open included."""
    centre = latents.mean.mean(0)
    moment = (latents.mean - centre).T @ (latents.mean - centre) / len(latents) + latents.covariance.mean(0)
    return Spread(centre, torch.linalg.cholesky(moment))


def without_rigid_motion(where: Setting, space: Subspace) -> Subspace:
    """Directions orthogonal, as the images weigh frequencies, to the six rigid motions of the mean map.

    Poses could not be told from z along them.
    """
    if not len(space):
        return space
    tangents = rigid_tangents(Volume(space.mean, space.grid))
    weight = frequency_weight(where)
    amounts = torch.linalg.lstsq(_weighed(tangents, weight).T, _weighed(space.directions, weight).T).solution
    moved = torch.einsum("tq,tzyx->qzyx", amounts.to(tangents), tangents)
    return replace(space, directions=space.directions - moved)


def rigid_tangents(volume: Volume) -> Float[Tensor, "6 d d d"]:
    """Derivatives of a map to a shift along x, y, z (Å) and to turns about them (rad)."""
    grid, spectrum = volume.grid, to_fourier_3d(volume.voxels)
    full = torch.fft.fftfreq(grid.box, grid.pixel_size)
    full[grid.box // 2] = 0  # the derivative of what is at Nyquist is not known
    half = full[: grid.half].abs()
    half[-1] = 0
    slopes = [to_real_3d(spectrum * (2j * math.pi * k)) for k in (half, full[:, None], full[:, None, None])]
    axis = grid.axis()
    places = (
        axis.expand(grid.box, grid.box, -1),
        axis[:, None].expand(grid.box, -1, grid.box),
        axis[:, None, None],
    )
    (dx, dy, dz), (x, y, z) = slopes, places
    return torch.stack([dx, dy, dz, y * dz - z * dy, z * dx - x * dz, x * dy - y * dx])


def frequency_weight(where: Setting) -> Float[Tensor, "s"]:
    """Mean of CTF² over noise by shell of the working grid, 0 beyond the limit and at DC.

    Slices are denser at low frequencies, by one over the radius.
    """
    grid = working_grid(where.store.disc.grid, where.limit)
    rows = torch.arange(0, len(where.store), max(1, len(where.store) // 512))
    power = where.store.read(rows, where.limit).transfer.square().mean(0)
    shells = where.store.disc.shells(where.limit)
    known = shells <= where.limit
    total = torch.zeros(grid.half).index_add_(0, shells[known], power[known])
    count = torch.zeros(grid.half).index_add_(0, shells[known], torch.ones_like(power[known]))
    return total / count.clamp(min=1) / torch.arange(grid.half).clamp(min=1)


def ordered(where: Setting, space: Subspace) -> Subspace:
    """The same subspace in its principal directions, the strongest as the images see it first."""
    return principal_turn(where, space).of_maps(space)


def principal_turn(where: Setting, space: Subspace) -> Spread:
    """To coordinates along a subspace's principal directions, the strongest as the images see it first."""
    centre = torch.zeros(len(space))
    if not len(space):
        return Spread(centre, torch.zeros(0, 0))
    flat = _weighed(space.directions, frequency_weight(where))
    turn = torch.linalg.eigh(flat @ flat.T).eigenvectors.flip(1)
    return Spread(centre, turn.to(space.directions))


def _weighed(voxels: Float[Tensor, "k d d d"], weight: Float[Tensor, "s"]) -> Float[Tensor, "k _"]:
    """Transforms as real rows whose inner product is ``Re Σ w A B*``, float64."""
    box = voxels.shape[-1]
    factor = weight[shells_3d(box).clamp(max=len(weight) - 1)] * (shells_3d(box) < len(weight) - 1)
    factor = factor * half_plane_weights(box)
    return torch.view_as_real(to_fourier_3d(voxels) * factor.sqrt()).flatten(1).double()


def _templates(space: Subspace, store: Store, limit: int) -> Templates:
    return templates(
        [Volume(each, space.grid) for each in (space.mean, *space.directions)], store.disc, limit
    )


def _posterior(where: Setting, rows: Int[Tensor, "b"], maps: Templates) -> Latents:
    """Of images whose log-likelihood is ``−|y − A₀ − A z|²``: precision ``2 A*A + I``."""
    store, limit = where.store, where.limit
    images, poses = store.read(rows, limit), where.fit.poses[rows]
    filtered = images.transfer * where.fit.contrast[rows, None] * ramps(store.disc, limit, poses.shift)
    columns = torch.view_as_real(maps.slices(poses.rotation).transpose(0, 1) * filtered[:, None]).flatten(2)
    left = torch.view_as_real(images.values).flatten(1) - columns[:, 0]
    slopes = columns[:, 1:]
    precision = 2 * slopes @ slopes.mT
    precision = precision + torch.eye(slopes.shape[1])
    pull = 2 * (slopes @ left[..., None])
    covariance = torch.linalg.inv(precision)
    mean = covariance @ pull
    evidence = 0.5 * (pull * mean).sum((1, 2)) - 0.5 * torch.logdet(precision)
    return Latents(mean[..., 0], covariance, evidence)


def _backprojected(
    where: Setting, rows: Int[Tensor, "b"]
) -> tuple[Complex[Tensor, "b m"], Float[Tensor, "b m"], Float[Tensor, "b 3 3"]]:
    """``c C y`` centred, ``c² C²``, and the rotation of each image."""
    images, poses = where.store.read(rows, where.limit), where.fit.poses[rows]
    transfer = images.transfer * where.fit.contrast[rows, None]
    centred = images.values * ramps(where.store.disc, where.limit, -poses.shift)
    return centred * transfer, transfer.square(), poses.rotation


def _moments(latents: Latents) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k k"]]:
    """Expectations of ``(1, z)`` and of its outer product."""
    first = torch.cat([torch.ones(len(latents), 1), latents.mean], 1)
    second = first[:, :, None] * first[:, None]
    second[:, 1:, 1:] += latents.covariance
    return first, second
