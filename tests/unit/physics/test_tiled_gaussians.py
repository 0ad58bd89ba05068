"""Kernels for a GPU, on one or in Triton's interpreter: values and gradients are those of the torch twins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture
from morphem.physics import gaussians
from morphem.physics.gaussian_slopes import (
    project_gaussians_with_slopes,
    project_gaussians_with_slopes_dense,
)
from morphem.physics.gaussians import (
    as_array,
    draws_tiles,
    draws_windows,
    gaussian_slices,
    project_gaussians,
    project_gaussians_gridded,
    project_gaussians_windowed,
)

triton = pytest.importorskip("triton", reason="triton is not installed: it comes with torch's CUDA builds")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Box; images; Gaussians; narrowest and widest, pixels.
SCENES = {
    "usual": (32, 2, 40, 0.8, 1.6),
    "one tile": (16, 1, 17, 0.8, 1.6),
    "edges within tiles": (30, 2, 20, 0.8, 1.6),
    "smaller than a tile": (6, 3, 12, 0.5, 2.0),
    "narrower than a pixel": (24, 1, 40, 0.05, 0.4),
    "wider than the box": (18, 1, 8, 5.0, 60.0),
    "more than one list": (12, 1, 600, 0.8, 1.6),
    "a single one": (20, 2, 1, 1.0, 1.0),
}
Scene = tuple[GaussianMixture, Tensor, Grid]


@pytest.fixture(autouse=True)
def tiles(monkeypatch: pytest.MonkeyPatch):
    """The kernels for a GPU on every device: without a GPU, the interpreter runs them."""
    monkeypatch.setattr(gaussians, "TILED", (DEVICE.type,))
    assert draws_tiles(DEVICE)


def draw(name: str, dtype: torch.dtype = torch.float64) -> Scene:
    """A mixture for each image, some of it outside of the box or without amplitude, and rotations."""
    box, images, count, narrowest, widest = SCENES[name]
    random, grid = torch.Generator().manual_seed(box), Grid(box, 1.5)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(DEVICE, dtype)

    centres = normal(images, count, 3) * grid.extent / 3
    scales = torch.linspace(narrowest, widest, count, dtype=dtype, device=DEVICE) * grid.pixel_size
    amplitudes = normal(images, count)
    amplitudes[:, 3::7] = 0
    return GaussianMixture(centres, scales, amplitudes), torch.linalg.qr(normal(images, 3, 3)).Q, grid


def written_out(mixture: GaussianMixture, rotation: Tensor, grid: Grid, cutoff: float) -> Tensor:
    """Gaussians cut to their windows, in plain torch; autograd gives the gradients."""
    view = (mixture.centres @ rotation[:, :2].mT / grid.pixel_size + grid.box // 2)[..., None]
    scales = (mixture.scales / grid.pixel_size)[:, None, None]
    offset = torch.arange(grid.box, dtype=view.dtype, device=view.device) - view
    profiles = torch.exp(-0.5 * (offset / scales) ** 2) * (offset.abs() <= cutoff * scales)
    return torch.einsum("bgy,bg,bgx->byx", profiles[:, :, 1], mixture.amplitudes, profiles[:, :, 0])


def largest(difference: Tensor, reference: Tensor) -> float:
    return float(difference.abs().max() / reference.abs().max())


def agree(found: Tensor, expected: Tensor, mixture: GaussianMixture, tolerance: float):
    """Values, and the gradients of a random sum of them to all leaves."""
    leaves = mixture.centres, mixture.amplitudes, mixture.scales
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(found)
    assert largest((found - expected).detach(), expected.detach()) < tolerance
    pairs = (torch.autograd.grad(images, leaves, upstream) for images in (found, expected))
    for gradient, reference in zip(*pairs, strict=True):
        assert largest(gradient - reference, reference) < tolerance


def ask_gradients(mixture: GaussianMixture):
    for leaf in (mixture.centres, mixture.amplitudes, mixture.scales):
        leaf.requires_grad_()


# The dense twin keeps 6e-16 of a peak however far away, which counts for the gradients of the narrowest.
@pytest.mark.parametrize("name", [name for name in SCENES if name != "narrower than a pixel"])
def test_images_and_gradients_are_those_of_the_dense_twin(name: str):
    mixture, rotation, grid = draw(name)
    ask_gradients(mixture)
    found = project_gaussians_windowed(mixture, rotation, grid, cutoff=9.0)
    agree(found, project_gaussians(mixture, rotation, grid), mixture, 1e-12)


@pytest.mark.parametrize("cutoff", [1.0, 4.0])
@pytest.mark.parametrize("name", ["usual", "narrower than a pixel", "wider than the box"])
def test_what_is_cut_is_what_lies_beyond_the_window(name: str, cutoff: float):
    mixture, rotation, grid = draw(name)
    ask_gradients(mixture)
    found = project_gaussians_windowed(mixture, rotation, grid, cutoff)
    agree(found, written_out(mixture, rotation, grid, cutoff), mixture, 1e-12)


def test_single_precision_keeps_six_digits():
    mixture, rotation, grid = draw("usual", torch.float32)
    ask_gradients(mixture)
    found = project_gaussians_windowed(mixture, rotation, grid, cutoff=9.0)
    assert found.dtype == torch.float32
    agree(found, project_gaussians(mixture, rotation, grid), mixture, 5e-6)


@pytest.mark.parametrize("q", [0, 3])
@pytest.mark.parametrize("name", ["usual", "edges within tiles", "wider than the box"])
def test_slopes_are_those_of_the_dense_twin(name: str, q: int):
    mixture, rotation, grid = draw(name)
    random = torch.Generator().manual_seed(2)
    shape = (len(rotation), q, mixture.scales.numel())
    velocities = torch.randn(*shape, 3, generator=random, dtype=torch.float64).to(DEVICE)
    slopes = torch.randn(*shape, generator=random, dtype=torch.float64).to(DEVICE)
    found = project_gaussians_with_slopes(mixture, velocities, slopes, rotation, grid, cutoff=9.0)
    expected = project_gaussians_with_slopes_dense(mixture, velocities, slopes, rotation, grid)
    for c in range(1 + q):
        assert largest(found[:, c] - expected[:, c], expected[:, c]) < 1e-12
    assert torch.equal(found[:, 0], project_gaussians_windowed(mixture, rotation, grid, cutoff=9.0))


def test_gridded_spectra_are_close_to_the_analytic_ones():
    mixture, rotation, grid = draw("one tile")
    mixture = GaussianMixture(mixture.centres, mixture.scales * 0 + grid.pixel_size, mixture.amplitudes)
    expected = gaussian_slices(mixture, rotation, grid)
    found = project_gaussians_gridded(mixture, rotation, grid)
    assert largest(found - expected, expected) < 1e-3  # its windows are cut at 4.2 deviations


def test_gaussians_outside_the_box_add_nothing_and_get_no_gradient():
    mixture, rotation, grid = draw("usual")
    mixture = GaussianMixture(mixture.centres * 0 + 5 * grid.extent, mixture.scales, mixture.amplitudes)
    ask_gradients(mixture)
    upright = torch.eye(3, dtype=torch.float64, device=DEVICE).expand_as(rotation)
    images = project_gaussians_windowed(mixture, upright, grid)
    assert not images.any()
    leaves = (mixture.centres, mixture.amplitudes, mixture.scales)
    for gradient in torch.autograd.grad(images.sum(), leaves):
        assert not gradient.any()


def test_an_amplitude_of_zero_still_has_a_gradient():
    mixture, rotation, grid = draw("a single one")
    bare = GaussianMixture(mixture.centres * 0, mixture.scales, torch.zeros_like(mixture.amplitudes))
    ask_gradients(bare)
    images = project_gaussians_windowed(bare, rotation, grid)
    assert not images.any()
    to_amplitudes = torch.autograd.grad(images.sum(), bare.amplitudes)[0]
    assert to_amplitudes.flatten().tolist() == pytest.approx([2 * torch.pi] * 2, rel=1e-3)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("lost", ["centres", "amplitudes"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's, of the interpreter
def test_a_value_that_is_not_finite_reaches_its_image_alone(lost: str, value: float):
    mixture, rotation, grid = draw("edges within tiles")
    clean = project_gaussians_windowed(mixture, rotation, grid)
    getattr(mixture, lost).flatten()[0] = value
    images = project_gaussians_windowed(mixture, rotation, grid)
    assert not images[0].isfinite().all()
    assert torch.equal(images[1], clean[1])


def test_a_width_that_is_not_a_number_reaches_every_pixel():
    mixture, rotation, grid = draw("edges within tiles")
    mixture.scales[0] = torch.nan
    assert project_gaussians_windowed(mixture, rotation, grid).isnan().all()


def test_images_in_several_turns_are_the_same(monkeypatch: pytest.MonkeyPatch):
    from morphem.physics.kernels import tiled_gaussians

    mixture, rotation, grid = draw("smaller than a tile")
    whole = project_gaussians_windowed(mixture, rotation, grid)
    monkeypatch.setattr(tiled_gaussians, "LIST_ELEMENTS", 2 * mixture.scales.numel())
    assert torch.equal(project_gaussians_windowed(mixture, rotation, grid), whole)


def test_a_device_without_loops_is_refused_by_name():
    nowhere = torch.zeros(1, device="meta")
    assert not draws_windows(nowhere.device)
    with pytest.raises(ValueError, match="on meta, but compiled loops need a CPU, or a GPU with triton"):
        as_array(nowhere)


def test_the_compiler_takes_every_kernel(tmp_path: Path):
    """The interpreter forgives what the compiler does not: a name, a shape. It needs no GPU to say so."""
    program = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from morphem.physics.kernels import tiled_gaussians

real, indices, sizes, reach = "*fp32", ("*i32", "*i32"), ("i32", "i32"), "constexpr"
plain, tilted = (real, "constexpr"), (real, real)
calls = [
    ("_list", (real, real, indices, sizes, reach), {(4,): 4.0}),
    ("_draw", ((real, real), plain, indices, real, sizes, reach), {(1, 1): None, (5,): 4.0}),
    ("_draw", ((real, real), tilted, indices, real, sizes, reach), {(5,): 4.0}),
    ("_differentiate", ((real,) * 3, real, (real,) * 3, sizes, reach), {(4,): 4.0}),
]
for name, types, constants in calls:
    kernel = getattr(tiled_gaussians, name)
    source = ASTSource(kernel, dict(zip(kernel.arg_names, types)), constants)
    made = compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": tiled_gaussians.WARPS})
    print(name, "tf32" in made.asm["ptx"], len(made.asm["cubin"]) > 0)
"""
    environment = dict(os.environ, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    names = ["_list", "_draw", "_draw", "_differentiate"]
    assert done.stdout.splitlines() == [f"{name} False True" for name in names], done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure on")
def test_the_benchmark_of_the_kernels_refuses_in_one_line_without_a_gpu():
    program = Path(__file__).parents[3] / "benchmarks" / "kernels.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("no GPU here")
    assert done.stderr.count("\n") == 1
