"""Central slices against NUFFT and direct sums, their adjoint, and maps from inserted slices."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core.fourier import shells_3d, to_fourier, to_fourier_3d, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, random_rotations
from morphem.core.types import Volume
from morphem.physics import slices as s

GRID = Grid(16, 2.5)


def blob(grid: Grid = GRID, seed: int = 0) -> Volume:
    """A smooth lump off the centre, with structure, that fades inside the box."""
    generator = torch.Generator().manual_seed(seed)
    axis = grid.axis(dtype=torch.float64) / grid.extent
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    voxels = torch.zeros_like(x)
    for _ in range(6):
        cx, cy, cz = (torch.rand(3, generator=generator, dtype=torch.float64) - 0.5) * 0.3
        voxels += torch.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * (1.3 / grid.box) ** 2))
    return Volume(voxels, grid)


def rotations(n: int, seed: int = 0) -> torch.Tensor:
    return random_rotations(n, torch.Generator().manual_seed(seed)).double()


def exact_slices(volume: Volume, rotation: torch.Tensor) -> torch.Tensor:
    """Direct double-precision sum over all voxels at every frequency below Nyquist."""
    grid = volume.grid
    axis = grid.axis(dtype=torch.float64)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    places = torch.stack([x, y, z], -1).flatten(0, 2)
    plane = torch.nn.functional.pad(grid.frequencies(dtype=torch.float64), (0, 1)) * s.disc(grid)[..., None]
    angle = -2 * math.pi * (plane.flatten(0, 1) @ rotation) @ places.T
    voxels = volume.voxels.flatten() * grid.pixel_size
    values = torch.complex(angle.cos() @ voxels, angle.sin() @ voxels)
    return values.unflatten(-1, (grid.box, grid.half)) * s.disc(grid)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(("padding", "bound"), [(1, 0.07), (2, 0.016), (3, 0.007), (8, 0.001)])
def test_slices_approach_the_direct_sum_as_padding_grows(padding, bound):
    rotation = rotations(4)
    assert relative_error(s.central_slices(blob(), rotation, padding), exact_slices(blob(), rotation)) < bound


def test_slices_equal_a_nonuniform_transform_of_the_voxels():
    finufft = pytest.importorskip("finufft")
    volume, rotation = blob(Grid(32, 1.7)), rotations(3, seed=5)
    plane = torch.nn.functional.pad(volume.grid.frequencies(dtype=torch.float64), (0, 1))
    x, y, z = (
        (2 * math.pi * volume.grid.pixel_size * (plane @ rotation[:, None]))
        .reshape(-1, 3)
        .T.contiguous()
        .numpy()
    )
    modes = volume.voxels.permute(2, 1, 0).contiguous().to(torch.complex128).numpy()
    values = torch.from_numpy(finufft.nufft3d2(x, y, z, modes, isign=-1, eps=1e-10))
    expected = values.reshape(3, 32, 17) * volume.grid.pixel_size * s.disc(volume.grid)
    assert relative_error(s.central_slices(volume, rotation, 2), expected) < 0.01
    assert relative_error(exact_slices(volume, rotation), expected) < 1e-9


def test_the_slice_of_an_unrotated_map_is_the_transform_of_its_sum_along_z():
    expected = to_fourier(blob().voxels.sum(0) * GRID.pixel_size) * s.disc(GRID)
    found = s.central_slices(blob(), torch.eye(3, dtype=torch.float64)[None])[0]
    assert relative_error(found, expected) < 0.03  # nothing is interpolated here, yet the map was divided


def test_the_padded_transform_is_the_direct_sum_at_its_frequencies():
    volume = blob(Grid(8, 2.0))
    table = s.prepare_transform(volume, 2)
    corrected = volume.voxels / s.interpolation_envelope(volume.grid, 2)
    place = torch.arange(8, dtype=torch.float64) - 4
    for z, y, x in [(8, 8, 0), (3, 11, 5), (0, 16, 8), (16, 1, 2)]:
        along = [torch.exp(-2j * math.pi * k / 16 * place) for k in (z - 8, y - 8, x)]
        expected = torch.einsum("zyx,z,y,x->", corrected.to(torch.complex128), *along) * 2.0
        assert torch.allclose(table[z, y, x], expected, atol=1e-10)


def test_nothing_lies_at_or_beyond_nyquist():
    found = s.central_slices(blob(), rotations(2))
    assert found[:, ~s.disc(GRID)].abs().max() == 0
    assert s.disc(GRID)[GRID.shells() < GRID.box // 2 - 1].all()


def test_slices_of_real_maps_obey_friedel():
    column = s.central_slices(blob(), rotations(3))[:, 1:, 0]
    assert torch.allclose(column, column.flip(1).conj(), atol=1e-10)


def test_insertion_is_the_adjoint_of_sampling():
    generator = torch.Generator().manual_seed(3)
    rotation, size = rotations(5), (33, 33, 17)
    table = torch.randn(*size, dtype=torch.complex128, generator=generator)
    images = torch.randn(5, 16, 9, dtype=torch.complex128, generator=generator)
    forward = torch.vdot(s.sample_slices(table, rotation, GRID).flatten(), images.flatten()).real
    backward = torch.vdot(table.flatten(), s.insert_slices(images, rotation, GRID).flatten()).real
    assert torch.allclose(forward, backward, rtol=1e-12)


def test_insertion_is_the_gradient_of_sampling():
    rotation = rotations(3)
    table = torch.zeros(33, 33, 17, dtype=torch.complex128, requires_grad=True)
    images = torch.randn(3, 16, 9, dtype=torch.complex128, generator=torch.Generator().manual_seed(4))
    s.sample_slices(table, rotation, GRID).backward(images)
    assert table.grad is not None
    assert torch.allclose(table.grad, s.insert_slices(images, rotation, GRID), atol=1e-12)


def test_gradients_to_voxels_and_rotations_equal_finite_differences():
    grid = Grid(4, 2.0)
    voxels = torch.randn(4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vector = torch.tensor([[0.3, -0.5, 1.1], [2.0, 0.1, -0.4]], dtype=torch.float64)

    def project(voxels: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        return s.central_slices(Volume(voxels, grid), from_rotation_vector(vector))

    assert torch.autograd.gradcheck(project, (voxels.requires_grad_(), vector.requires_grad_()))


def test_the_gradient_to_a_rotation_approaches_that_of_the_direct_sum():
    vector = torch.tensor([[0.3, -0.5, 1.1]], dtype=torch.float64, requires_grad=True)
    target = exact_slices(blob(seed=1), rotations(1))
    gradients = []
    for project in (exact_slices, lambda v, r: s.central_slices(v, r, 8)):
        loss = (project(blob(), from_rotation_vector(vector)) - target).abs().square().sum()
        gradients.append(torch.autograd.grad(loss, vector)[0])
    assert relative_error(gradients[1], gradients[0]) < 0.05


def test_the_gradient_to_the_voxels_is_the_adjoint_nonuniform_transform():
    finufft = pytest.importorskip("finufft")
    rotation, box = rotations(40, seed=7), GRID.box
    places = GRID.frequencies(dtype=torch.float64)[s.disc(GRID)] @ rotation[:, :2]
    x, y, z = (2 * math.pi * GRID.pixel_size * places).reshape(-1, 3).T.contiguous().numpy()
    residual = (s.central_slices(blob(), rotation) - s.central_slices(blob(seed=1), rotation))[
        :, s.disc(GRID)
    ]
    modes = finufft.nufft3d1(x, y, z, residual.flatten().numpy(), (box, box, box), isign=1, eps=1e-9)
    expected = torch.from_numpy(modes).permute(2, 1, 0).real * GRID.pixel_size

    voxels = blob().voxels.requires_grad_()
    found = s.central_slices(Volume(voxels, GRID), rotation)[:, s.disc(GRID)]
    (gradient,) = torch.autograd.grad((found * residual.conj()).real.sum(), voxels)
    ball = GRID.axis().square()
    near = (ball[:, None, None] + ball[:, None] + ball).sqrt() < GRID.extent / 4
    assert relative_error(gradient[near], expected[near]) < 0.02


def test_single_precision_is_enough_for_an_interpolation():
    rotation = rotations(3)
    single = s.central_slices(Volume(blob().voxels.float(), GRID), rotation.float())
    assert relative_error(single.to(torch.complex128), s.central_slices(blob(), rotation)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_follows_the_map(dtype):
    volume = Volume(blob().voxels.to(dtype), GRID)
    assert s.central_slices(volume, rotations(1).float()).dtype == dtype.to_complex()


def backproject(volume: Volume, transfer: torch.Tensor) -> Volume:
    rotation = rotations(len(transfer), seed=9)
    images = s.central_slices(volume, rotation, 4) * transfer
    numerator, weight = s.insert_weighted(transfer * images, transfer.square(), rotation, GRID)
    return s.solve_insertion(numerator, weight, GRID)


def agreement(found: Volume, expected: Volume) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlation and ratio of amplitudes on shells 1 to 5 of 8."""
    shells, a, b = shells_3d(16), to_fourier_3d(found.voxels), to_fourier_3d(expected.voxels)
    rows = [(a[shells == i], b[shells == i]) for i in range(1, 6)]
    correlation = torch.stack([torch.vdot(x, y).real / (x.norm() * y.norm()) for x, y in rows])
    return correlation, torch.stack([x.norm() / y.norm() for x, y in rows])


def test_back_projection_restores_the_map_in_its_own_units():
    correlation, ratio = agreement(backproject(blob(), torch.ones(400, 16, 9, dtype=torch.float64)), blob())
    assert correlation.min() > 0.999
    assert torch.allclose(ratio, torch.ones_like(ratio), atol=0.03)


def test_back_projection_undoes_transfer_functions_with_zeros_here_and_there():
    radius = GRID.frequencies(dtype=torch.float64).square().sum(-1).sqrt()
    waves = torch.linspace(15, 45, 400, dtype=torch.float64)[
        torch.randperm(400, generator=torch.Generator().manual_seed(0))
    ]
    correlation, ratio = agreement(backproject(blob(), torch.cos(waves[:, None, None] * radius)), blob())
    assert correlation.min() > 0.99
    assert torch.allclose(ratio, torch.ones_like(ratio), atol=0.1)


def test_a_regulariser_equal_to_the_weight_halves_the_map():
    rotation = rotations(20, seed=2)
    weight = torch.ones(33, 33, 17, dtype=torch.float64)
    weight[..., 0] = 0.5  # the plane x = 0 is completed by its mirror
    numerator = s.insert_slices(s.central_slices(blob(), rotation), rotation, GRID)
    plain = s.solve_insertion(numerator, weight, GRID)
    damped = s.solve_insertion(numerator, weight, GRID, torch.ones(9, dtype=torch.float64))
    assert torch.allclose(damped.voxels, plain.voxels / 2, atol=1e-10)


def test_insertion_counts_every_frequency_of_the_full_plane_once():
    rotation = torch.eye(3, dtype=torch.float64)[None]
    ones = torch.ones(1, 16, 9, dtype=torch.float64)
    _, weight = s.insert_weighted(torch.complex(ones, ones), ones, rotation, GRID)
    full = s.disc(GRID).double()
    inner = (2 * full.sum() - full[:, 0].sum()) / 2
    assert weight.sum().item() == pytest.approx(inner.item())


def test_an_empty_insertion_gives_an_empty_map():
    nothing = torch.zeros(33, 33, 17, dtype=torch.float64)
    found = s.solve_insertion(torch.complex(nothing, nothing), nothing, GRID)
    assert found.voxels.abs().max() == 0


def test_a_projection_is_an_integral_along_the_beam_in_angstroms():
    image = to_real(s.central_slices(blob(), torch.eye(3, dtype=torch.float64)[None], 8))[0]
    assert image.sum().item() == pytest.approx(blob().voxels.sum().item() * GRID.pixel_size, rel=2e-3)
