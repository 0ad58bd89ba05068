"""Poses of a part that many images share: what one image leaves open, the others tell.

The poses that a part takes are a distribution that is estimated from all images (nonparametric maximum
likelihood: weights and places of many atoms), and each image's pose is its mean under that distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.rotations import from_rotation_vector, nearest_rotation
from morphem.core.types import PerParticle, Poses
from morphem.inference.refine import Fit

_ATOMS = 1000
_PER_ATOM = 4  # images at least
_ROUNDS = 12
_BLOCK = 500  # images at a time
_FAR = 200.0  # log-likelihood lost at a turn by 90° from a peak, over and above its curvature
_LARGEST = 0.2  # rad that an atom turns a round
_SINE = 0.5 * torch.tensor([[[0, 0, 0], [0, 0, -1], [0, 1, 0]], [[0, 0, 1], [0, 0, 0], [-1, 0, 0]],
                            [[0, -1, 0], [1, 0, 0], [0, 0, 0]]])  # fmt: skip


@dataclass(frozen=True)
class Placements(PerParticle):
    """Where a part is in the molecule: ``r = rotation @ r_part + joint + slack``.

    Attributes:
        rotation: Of the part's frame to the molecule's.
        slack: How far from the joint the part's origin is, Å.
    """

    rotation: Float[Tensor, "n 3 3"]
    slack: Float[Tensor, "n 3"]


@dataclass(frozen=True)
class Placed(PerParticle):
    """What is known of each image's placement.

    Attributes:
        places: Its mean.
        covariance: Of the nine numbers of its rotation and the three of its slack.
        evidence: Log-likelihood of the image, its placement left open.
    """

    places: Placements
    covariance: Float[Tensor, "n 12 12"]
    evidence: Float[Tensor, "n"]


@dataclass(frozen=True)
class Atoms:
    """A distribution of placements.

    Attributes:
        places: Of the atoms.
        share: Of the population at each.
    """

    places: Placements
    share: Float[Tensor, "k"]


@dataclass(frozen=True)
class Peaks:
    """Log-likelihoods of a part's pose in each image as parabolas around a few peaks.

    With x the numbers of a placement (nine of the rotation, three of the slack, 1), the log-likelihood is
    ``score − xᵀ A x / 2``: the sine of a turn is linear in x, and so is its cosine, of which a second term
    keeps turns by 180° away.

    Attributes:
        forms: A of each peak, those of an image one after another.
        score: At each.
    """

    forms: Float[Tensor, "m 169"]
    score: Float[Tensor, "n h"]


def peaks_of(fit: Fit, views: Poses, joint: Float[Tensor, "3"]) -> Peaks:
    """Peaks from fitted poses, ``h`` an image: rotations of the part, shifts of its joint.

    Args:
        fit: Rows of one image after another.
        views: Poses of the molecule in the images.
        joint: In the molecule, Å.
    """
    count = len(fit.score) // len(views)
    turn = views.rotation.repeat_interleave(count, 0)
    home = (views.shift + (views.rotation @ joint)[:, :2]).repeat_interleave(count, 0)
    # entry (a, b) of V X Qᵀ is a linear function of X
    relative = torch.einsum("mac,mbd->mabcd", turn, fit.poses.rotation).flatten(3)
    lines = relative.new_zeros(len(turn), 6, 13)
    lines[:, :3, :9] = torch.einsum("iab,mabx->mix", _SINE, relative)
    lines[:, 3:5, 9:12], lines[:, 3:5, 12] = turn[:, :2], home - fit.poses.shift
    lines[:, 5, :9], lines[:, 5, 12] = -relative.diagonal(dim1=1, dim2=2).sum(-1) / 2, 1.5
    weight = relative.new_zeros(len(turn), 6, 6)
    weight[:, :5, :5], weight[:, 5, 5] = fit.information, 2 * _FAR
    return Peaks((lines.mT @ weight @ lines).flatten(1), fit.score.view(-1, count))


def mirrored(fit: Fit) -> Fit:
    """The same fits by the mirror image of the part (along the beam), which no single image can rule out."""
    mirror, sign = torch.diag(torch.tensor([1.0, 1, -1])), torch.tensor([-1.0, -1, 1, 1, 1])
    poses = Poses(mirror @ fit.poses.rotation @ mirror, fit.poses.shift)
    return Fit(poses, fit.contrast, fit.score, fit.information * sign[:, None] * sign)


@torch.no_grad()
def population(peaks: Peaks, start: Placements, slack: float, seed: int = 0, rounds: int = _ROUNDS) -> Atoms:
    """The likeliest distribution of placements.

    Atoms start as some of the images' own, and go where the images that they explain say, weighed by what
    each of these knows (expectation–maximisation). Cost: 340 multiplications and one exponential a peak, atom
    and round.

    Args:
        peaks: Of every image.
        start: Best placement of every image.
        slack: Standard deviation of slacks, Å, a priori.
        seed: Of which images atoms start from.
        rounds: Of expectation and maximisation.
    """
    generator = torch.Generator().manual_seed(seed)
    count = max(min(_ATOMS, len(start) // _PER_ATOM), 1)
    places = start[torch.randperm(len(start), generator=generator)[:count]]
    atoms = Atoms(places, torch.full((count,), 1 / count))
    for _ in range(rounds):
        total, forms = torch.zeros(count), torch.zeros(count, 169)
        for rows in torch.arange(len(start)).split(_BLOCK):
            weight, own = _responsibilities(peaks, rows, atoms)[:2]
            total += weight.sum(0)
            forms += weight.T @ own
        moved = _moved(atoms.places, forms.unflatten(1, (13, 13)), slack)
        atoms = Atoms(moved, (total / len(start)).clamp(min=1e-12))
    return atoms


@torch.no_grad()
def placed(peaks: Peaks, atoms: Atoms) -> Placed:
    """What a distribution of placements and an image's own peaks say together."""
    numbers = _numbers(atoms.places)
    squares = (numbers[:, :, None] * numbers[:, None]).flatten(1)
    found = []
    for rows in torch.arange(len(peaks.score)).split(_BLOCK):
        weight, _, evidence = _responsibilities(peaks, rows, atoms)
        weight = weight.unflatten(0, (len(rows), -1)).sum(1)
        mean, second = weight @ numbers, (weight @ squares).unflatten(1, (13, 13))
        covariance = (second - mean[:, :, None] * mean[:, None])[:, :12, :12]
        places = Placements(nearest_rotation(mean[:, :9].unflatten(1, (3, 3))), mean[:, 9:12])
        found.append((places.rotation, places.slack, covariance, evidence))
    turn, slack, covariance, evidence = (torch.cat(each) for each in zip(*found, strict=True))
    return Placed(Placements(turn, slack), covariance, evidence)


def _responsibilities(
    peaks: Peaks, rows: Int[Tensor, "b"], atoms: Atoms
) -> tuple[Float[Tensor, "_ k"], Float[Tensor, "_ 169"], Float[Tensor, "b"]]:
    """Posterior of each peak and atom, an image's adding up to 1; the peaks' forms; each image's evidence."""
    count = peaks.score.shape[1]
    own = peaks.forms.unflatten(0, (-1, count))[rows].flatten(0, 1)
    numbers = _numbers(atoms.places)
    squares = (numbers[:, :, None] * numbers[:, None]).flatten(1)
    score = (own @ squares.T).div_(-2).add_(atoms.share.log()).add_(peaks.score[rows].flatten()[:, None])
    whole = score.view(len(rows), -1)
    top = whole.amax(1, keepdim=True)
    weight = whole.sub_(top).clamp_(min=-28.0).exp_()  # denormal numbers are slow
    total = weight.sum(1, keepdim=True)
    return weight.div_(total).view(-1, len(numbers)), own, (top + total.log())[:, 0]


def _numbers(places: Placements) -> Float[Tensor, "k 13"]:
    return torch.cat([places.rotation.flatten(1), places.slack, torch.ones_like(places.slack[:, :1])], 1)


def _moved(places: Placements, forms: Float[Tensor, "k 13 13"], slack: float) -> Placements:
    """One Gauss–Newton step of each atom down its quadratic form, in rotation vector and slack."""
    prior = torch.zeros(13)
    prior[9:12] = slack**-2
    forms = forms + torch.diag(prior)
    tangent = forms.new_zeros(len(forms), 13, 6)
    tangent[:, :9, :3] = torch.einsum("kcd,ide->kcei", places.rotation, 2 * _SINE).flatten(1, 2)
    tangent[:, 9:12, 3:] = torch.eye(3)
    slope = (tangent.mT @ forms @ _numbers(places)[:, :, None])[..., 0]
    steady = torch.diag(torch.tensor([1.0, 1, 1, 1e-3, 1e-3, 1e-3]))
    step = -torch.linalg.solve(tangent.mT @ forms @ tangent + steady, slope)
    turn = from_rotation_vector(step[:, :3].clamp(-_LARGEST, _LARGEST))
    return Placements(places.rotation @ turn, places.slack + step[:, 3:])
