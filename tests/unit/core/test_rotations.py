"""Rotations against scipy and roma, and the laws of their group."""

from __future__ import annotations

import math

import pytest
import roma
import torch
from scipy.spatial.transform import Rotation

from morphem.core import rotations as r


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrices(n: int = 50, seed: int = 0) -> torch.Tensor:
    return r.from_quaternion(draw(n, 4, seed=seed))


def test_matrices_of_quaternions_equal_those_of_scipy():
    wxyz = draw(50, 4)
    expected = Rotation.from_quat(wxyz[:, [1, 2, 3, 0]].numpy()).as_matrix()
    assert torch.allclose(r.from_quaternion(wxyz), torch.from_numpy(expected.copy()), atol=1e-12)


def test_quaternions_of_matrices_equal_those_of_roma():
    found = r.to_quaternion(matrices())
    xyzw = roma.rotmat_to_unitquat(matrices())
    expected = xyzw[:, [3, 0, 1, 2]] * xyzw[:, 3:].sign()
    assert torch.allclose(found, expected, atol=1e-12)
    assert (found[:, 0] >= 0).all()


def test_quaternions_survive_half_turns():
    axis = torch.nn.functional.normalize(draw(20, 3), dim=-1)
    half_turns = r.from_rotation_vector(math.pi * axis)
    assert torch.allclose(r.from_quaternion(r.to_quaternion(half_turns)), half_turns, atol=1e-10)


def test_rotation_vectors_equal_those_of_roma():
    vectors = draw(50, 3) * 2
    assert torch.allclose(r.from_rotation_vector(vectors), roma.rotvec_to_rotmat(vectors), atol=1e-12)


@pytest.mark.parametrize("length", [0.0, 1e-9, 1e-4, 9.9e-4, 1.1e-3])
def test_small_rotation_vectors_keep_their_digits(length):
    vector = torch.tensor([[0.6, -0.8, 0.0]], dtype=torch.float64) * length
    expected = torch.from_numpy(Rotation.from_rotvec(vector.numpy()).as_matrix().copy())
    assert torch.allclose(r.from_rotation_vector(vector), expected, atol=1e-13)


def test_the_gradient_at_the_identity_is_the_generator():
    vector = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(r.from_rotation_vector, (vector,))


def test_euler_angles_equal_those_of_scipy():
    angles = draw(50, 3)
    expected = Rotation.from_euler("ZYZ", angles.numpy()).inv().as_matrix()
    assert torch.allclose(r.from_euler(*angles.T), torch.from_numpy(expected.copy()), atol=1e-12)


def test_euler_angles_return():
    angles = r.to_euler(matrices())
    assert torch.allclose(r.from_euler(*angles.T), matrices(), atol=1e-12)
    assert (angles[:, 1] >= 0).all()


@pytest.mark.parametrize("tilt", [0.0, math.pi])
def test_euler_angles_return_at_the_poles(tilt):
    rot, psi = draw(2, 20)
    pole = r.from_euler(rot, torch.full_like(rot, tilt), psi)
    angles = r.to_euler(pole)
    assert (angles[:, 0] == 0).all()
    assert torch.allclose(r.from_euler(*angles.T), pole, atol=1e-10)


def test_six_numbers_give_a_rotation_whatever_their_length():
    six = draw(50, 6)
    found = r.from_six_dimensions(six)
    assert torch.allclose(found @ found.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3), atol=1e-12)
    assert torch.allclose(torch.linalg.det(found), torch.ones(50, dtype=torch.float64))
    assert torch.allclose(r.from_six_dimensions(3 * six), found, atol=1e-12)


def test_the_first_two_rows_of_a_rotation_are_its_six_numbers():
    six = matrices()[:, :2].flatten(1)
    assert torch.allclose(r.from_six_dimensions(six), matrices(), atol=1e-12)


def test_distances_equal_those_of_roma():
    found = r.geodesic_distance(matrices(seed=1), matrices(seed=2))
    expected = roma.rotmat_geodesic_distance(matrices(seed=1), matrices(seed=2))
    assert torch.allclose(found, expected, atol=1e-9)


def test_a_small_distance_keeps_its_digits_in_single_precision():
    turn = r.from_rotation_vector(torch.tensor([[1e-3, 0.0, 0.0]]))
    assert r.geodesic_distance(turn, torch.eye(3)[None]).item() == pytest.approx(1e-3, rel=1e-3)


def test_the_nearest_rotation_is_proper_and_that_of_roma():
    noisy = draw(30, 3, 3)
    assert torch.allclose(r.nearest_rotation(noisy), roma.special_procrustes(noisy), atol=1e-9)
    assert torch.allclose(r.nearest_rotation(matrices()), matrices(), atol=1e-12)


def test_the_mean_of_a_symmetric_cloud_is_its_middle():
    middle, vectors = matrices(1)[0], draw(100, 3) * 0.2
    cloud = middle @ r.from_rotation_vector(torch.cat([vectors, -vectors]))
    assert torch.allclose(r.mean_rotation(cloud), middle, atol=1e-10)


def test_random_rotations_are_uniform():
    found = r.random_rotations(20000, torch.Generator().manual_seed(0)).double()
    angle = r.geodesic_distance(found, torch.eye(3, dtype=torch.float64).expand_as(found))
    # P(angle < θ) = (θ − sin θ) / π for the uniform measure
    for theta in (0.5, 1.5, 2.5):
        assert (angle < theta).double().mean().item() == pytest.approx(
            (theta - math.sin(theta)) / math.pi, abs=0.01
        )
    assert found.mean(0).abs().max() < 0.02
