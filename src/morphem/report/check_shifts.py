"""Measured shifts against recorded ones: the matrix that tells ×2, negated and swapped apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.core.types import Volume
from morphem.physics.noise import band_weights
from morphem.report.check_sample import Sample, expectations

_STEPS = 30  # of Newton's method
_SCALES = (0.0, 0.1, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 6.0, 10.0)
_NAMED = {
    "as recorded": ((1, 0), (0, 1)),
    "recorded ×2": ((0.5, 0), (0, 0.5)),
    "recorded ×½": ((2, 0), (0, 2)),
    "negated": ((-1, 0), (0, -1)),
    "swapped": ((0, 1), (1, 0)),
    "already applied": ((0, 0), (0, 0)),
    "x negated": ((-1, 0), (0, 1)),
    "y negated": ((1, 0), (0, -1)),
}
RIGHT = "as recorded"
UNKNOWN = "by no known error"


@dataclass(frozen=True)
class ShiftRegression:
    """``t_measured = M t_recorded + offset``, at the greatest likelihood of all images together.

    Attributes:
        matrix: M.
        error: Standard errors of M.
        offset: Å, (x, y).
        offset_error: Its standard errors, Å.
        recorded: Spread of the recorded shifts along an axis, Å.
        residual: Spread of what the regression leaves unexplained, Å; 0 if none was seen.
        residual_deviations: How many standard errors the residual's variance is from none.
        name: Of the error that M shows.
    """

    matrix: tuple[tuple[float, float], tuple[float, float]]
    error: tuple[tuple[float, float], tuple[float, float]]
    offset: tuple[float, float]
    offset_error: tuple[float, float]
    recorded: float
    residual: float
    residual_deviations: float
    name: str

    @property
    def certain(self) -> bool:
        """Whether M is known well enough to judge by."""
        largest = max(1.0, *(abs(value) for row in self.matrix for value in row))
        return self.recorded > 0 and max(max(row) for row in self.error) < 0.15 * largest


def regress_shifts(sample: Sample, references: tuple[Volume, Volume]) -> ShiftRegression:
    """Regression of shifts on those recorded.

    No shift is measured image by image, where noise would win: M and the offset maximise the sum of all
    cross-correlations at ``M t + offset``, found by a coarse search and Newton's method.
    """
    products, points = _products(sample, references)
    recorded = sample.poses.shift.double()
    spread = float(recorded.square().mean().sqrt())
    moving = spread > 0.02 * sample.grid.pixel_size
    start = _search(products, points, recorded, sample.recorded_pixel) if moving else torch.zeros(3, 2)
    free = torch.tensor([moving, moving, True])
    solution, error = _climb(products, points, recorded, start.double(), free)
    residual, deviations = _unexplained(sample, products, points, _moved(recorded, solution))
    matrix, matrix_error = solution[:2].T, error[:2].T
    name = _name(matrix, sample.recorded_pixel) if moving else "none recorded"
    return ShiftRegression(
        _pairs(matrix), _pairs(matrix_error), _pair(solution[2]), _pair(error[2]),
        spread if moving else 0.0, residual, deviations, name,
    )  # fmt: skip


def corrected(sample: Sample, found: ShiftRegression) -> Sample:
    """The sample with shifts as the regression has them, where it is certain."""
    if not found.certain:
        return sample
    shift = sample.poses.shift @ torch.tensor(found.matrix).T + torch.tensor(found.offset)
    return sample.with_poses(sample.poses.rotation, shift)


def _products(
    sample: Sample, references: tuple[Volume, Volume]
) -> tuple[Complex[Tensor, "n m"], Float[Tensor, "m 2"]]:
    """Cross-spectra of images and expectations at frequencies below two thirds of Nyquist, and these."""
    weights = band_weights(sample.grid, 0.7 * sample.grid.nyquist)
    inside = weights > 0
    found = []
    for rows in sample.batches():
        expected = expectations(sample, references, rows)
        value, share = sample.matched(rows)
        power = (share * expected.abs().square() * weights).sum((-2, -1), keepdim=True)
        product = value * expected.conj() * weights / power.clamp(min=1e-30).sqrt()
        found.append(product[:, inside])
    return torch.cat(found), sample.grid.frequencies()[inside]


def _moved(recorded: Float[Tensor, "n 2"], solution: Float[Tensor, "3 2"]) -> Float[Tensor, "n 2"]:
    return recorded @ solution[:2] + solution[2]


def _turned(
    products: Complex[Tensor, "n m"], points: Float[Tensor, "m 2"], shift: Float[Tensor, "n 2"]
) -> Complex[Tensor, "n m"]:
    """Cross-spectra whose real parts sum to the cross-correlation at a shift."""
    angle = 2 * math.pi * (shift.float() @ points.T)
    return products * torch.polar(torch.ones_like(angle), angle)


def _search(
    products: Complex[Tensor, "n m"],
    points: Float[Tensor, "m 2"],
    recorded: Float[Tensor, "n 2"],
    pixel: float,
) -> Float[Tensor, "3 2"]:
    """The best of a coarse set of matrices: each axis scaled and negated, and both swapped."""
    products, recorded = products[:300], recorded[:300]  # the best by far, even of so few
    scales = [*_SCALES, pixel, 1 / pixel]
    shapes = [torch.tensor(_NAMED[name]).double() for name in (RIGHT, "swapped", "x negated", "y negated")]
    shapes += [torch.tensor([[0.0, 1.0], [-1.0, 0.0]]).double()]
    tries = [sign * scale * shape for shape in shapes for scale in scales for sign in (1, -1)]
    sums = [float(_turned(products, points, recorded @ each.T).real.sum()) for each in tries]
    best = tries[max(range(len(tries)), key=sums.__getitem__)]
    return torch.cat([best.T, torch.zeros(1, 2).double()])


def _climb(
    products: Complex[Tensor, "n m"],
    points: Float[Tensor, "m 2"],
    recorded: Float[Tensor, "n 2"],
    start: Float[Tensor, "3 2"],
    free: Tensor,
) -> tuple[Float[Tensor, "3 2"], Float[Tensor, "3 2"]]:
    """Newton's method with a growing diagonal, and standard errors that hold for any noise (sandwich)."""
    inputs = torch.cat([recorded, torch.ones(len(recorded), 1).double()], 1) * free
    solution, damping = start.clone(), 1e-3
    value, scores, curvature = _derivatives(products, points, inputs, solution)
    for _ in range(_STEPS):
        used = curvature.diagonal().abs() > 0
        diagonal = torch.where(used, curvature.diagonal().abs(), 1)
        step = torch.linalg.solve(curvature + torch.diag(damping * diagonal + ~used), scores.sum(0))
        trial = solution + step.unflatten(0, (3, 2))
        after = _derivatives(products, points, inputs, trial)
        if after[0] < value:
            damping *= 10
            continue
        done = after[0] - value < 1e-9 * abs(value)
        solution, damping = trial, damping / 10
        value, scores, curvature = after
        if done:
            break
    inverse = torch.linalg.pinv(curvature)
    covariance = inverse @ (scores.T @ scores) @ inverse
    return solution, covariance.diagonal().clamp(min=0).sqrt().unflatten(0, (3, 2))


def _derivatives(
    products: Complex[Tensor, "n m"],
    points: Float[Tensor, "m 2"],
    inputs: Float[Tensor, "n 3"],
    solution: Float[Tensor, "3 2"],
) -> tuple[float, Float[Tensor, "n 6"], Float[Tensor, "6 6"]]:
    """Sum of cross-correlations, its gradient by image, and minus its second derivative."""
    turned = _turned(products, points, inputs @ solution)
    k = 2 * math.pi * points
    slope = (-turned.imag @ k).double()
    bend = (turned.real @ (k[:, :, None] * k[:, None, :]).flatten(1)).double().unflatten(1, (2, 2))
    scores = (inputs[:, :, None] * slope[:, None, :]).flatten(1)
    curvature = torch.einsum("na,nb,nij->aibj", inputs, inputs, bend).reshape(6, 6)
    return float(turned.real.double().sum()), scores, curvature


def _unexplained(
    sample: Sample,
    products: Complex[Tensor, "n m"],
    points: Float[Tensor, "m 2"],
    shift: Float[Tensor, "n 2"],
) -> tuple[float, float]:
    """Spread of shifts about the regression, Å, and how many standard errors its square is from zero.

    Each image's shift is measured twice, by two sets of frequencies whose noise is independent: the mean
    product of both is the variance of the shift alone.
    """
    turned = _turned(products, points, shift)
    radius = (points.norm(dim=-1) * sample.grid.extent).round().long()
    angle = torch.atan2(points[:, 1], points[:, 0])
    even = ((radius + (angle / (math.pi / 4)).floor().long()) % 2) == 0
    pixel = sample.grid.pixel_size
    reach = torch.arange(-6, 7).float() * pixel
    window = torch.cartesian_prod(reach, reach)
    waves = 2 * math.pi * (points @ window.T)
    measured = []
    for part in (even, ~even):
        # one product of real matrices holds the cross-correlation at every place of the window
        table = turned.real[:, part] @ waves[part].cos() - turned.imag[:, part] @ waves[part].sin()
        measured.append(window[table.argmax(1)])
    product = (measured[0] * measured[1]).mean(1).double()
    error = float(product.std()) / max(len(product) - 1, 1) ** 0.5 if len(product) > 1 else math.inf
    mean = float(product.mean())
    return math.sqrt(max(mean, 0)), mean / max(error, 1e-12)


def _name(matrix: Float[Tensor, "2 2"], pixel: float) -> str:
    """The known error whose matrix is nearest, if it is near enough."""
    known = {name: torch.tensor(rows).double() for name, rows in _NAMED.items()}
    if abs(math.log(pixel)) > 0.2:
        known |= {
            "in pixels, read as Å": pixel * torch.eye(2).double(),
            "in Å, read as pixels": torch.eye(2).double() / pixel,
        }
    distance = {
        name: float((matrix - each).abs().max() / max(1, each.abs().max())) for name, each in known.items()
    }
    nearest = min(distance, key=distance.__getitem__)
    return nearest if distance[nearest] < 0.2 else UNKNOWN


def _pair(values: Float[Tensor, "2"]) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _pairs(values: Float[Tensor, "2 2"]) -> tuple[tuple[float, float], tuple[float, float]]:
    return _pair(values[0]), _pair(values[1])
