"""Ranks, areas and Rand indices worked by hand or against scikit-learn and SciPy."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from morphem.metrics.clusters import adjusted_rand
from morphem.metrics.latents import (
    auroc,
    latent_auroc,
    latent_rank_correlation,
    parts_ari,
    spearman,
)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_the_area_of_four_scores_is_the_share_of_pairs_in_order():
    score, label = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([False, False, True, True])
    assert auroc(score, label) == pytest.approx(0.75)


def test_equal_scores_have_half_the_area():
    assert auroc(torch.ones(10), torch.arange(10) < 4) == pytest.approx(0.5)


def test_the_area_agrees_with_scikit_learn_with_ties():
    score = torch.randint(0, 9, (200,), generator=_generator()).float()
    label = torch.rand(200, generator=_generator()) < 0.3
    assert auroc(score, label) == pytest.approx(roc_auc_score(label.numpy(), score.numpy()))


def test_labels_of_one_kind_have_no_area():
    with pytest.raises(ValueError, match="both kinds"):
        auroc(torch.rand(5), torch.ones(5, dtype=torch.bool))


def test_spearman_agrees_with_scipy_with_ties():
    a = torch.randint(0, 9, (100,), generator=_generator()).float()
    b = a + torch.randn(100, generator=_generator()).round()
    assert spearman(a, b) == pytest.approx(float(stats.spearmanr(a.numpy(), b.numpy()).statistic))


def test_the_rand_index_agrees_with_scikit_learn():
    a, b = (torch.randint(0, k, (300,), generator=_generator()) for k in (3, 5))
    b = torch.where(torch.arange(300) < 200, a, b)
    assert adjusted_rand(a, b) == pytest.approx(adjusted_rand_score(a.numpy(), b.numpy()))


def test_renaming_parts_does_not_change_the_rand_index():
    a = torch.arange(60) // 20
    assert adjusted_rand(a, torch.tensor([7, 3, 5])[a]) == 1.0
    assert adjusted_rand(a, torch.zeros(60, dtype=torch.long)) == 0.0


def test_splitting_a_part_costs_rand_index():
    body = torch.arange(60) // 20
    part = torch.where((body == 0) & (torch.arange(60) % 2 == 0), 9, body)
    assert 0.6 < adjusted_rand(part, body) < 1


def test_a_curved_latent_orders_particles_as_well_as_a_straight_one():
    angle = torch.rand(1000, generator=_generator())
    arc = torch.stack([(2 * angle).cos(), (2 * angle).sin(), torch.randn(1000, generator=_generator())], 1)
    assert latent_rank_correlation(arc, angle) > 0.999


def test_an_affine_map_of_the_latents_changes_nothing():
    angle = torch.rand(500, generator=_generator())
    latents = torch.stack([angle + 0.1 * torch.randn(500, generator=_generator()), angle**2], 1)
    mixed = 7 * latents @ torch.tensor([[1.0, 0.3], [-2.0, 0.8]]) + 5
    assert latent_rank_correlation(latents, angle) == pytest.approx(
        latent_rank_correlation(mixed, angle), abs=1e-4
    )


def test_a_latent_that_knows_nothing_scores_chance():
    latents = torch.randn(2000, 4, generator=_generator())
    generator = torch.Generator().manual_seed(99)
    angle, label = torch.rand(2000, generator=generator), torch.rand(2000, generator=generator) < 0.7
    assert abs(latent_rank_correlation(latents, angle)) < 0.08  # 3.5/√2000
    assert latent_auroc(latents, label) == pytest.approx(0.5, abs=0.05)


def test_a_latent_of_no_width_scores_chance():
    angle = torch.rand(50, generator=_generator())
    assert latent_rank_correlation(torch.zeros(50, 0), angle) == 0
    assert latent_auroc(torch.zeros(50, 0), angle > 0.5) == 0.5


def test_noise_in_the_latent_costs_correlation():
    angle = torch.rand(3000, generator=_generator())
    noisy = (angle + angle.std() * torch.randn(3000, generator=torch.Generator().manual_seed(8)))[:, None]
    assert latent_rank_correlation(noisy, angle) == pytest.approx(0.7, abs=0.04)  # 1/√2 for linear ranks


def test_a_latent_that_holds_the_label_apart_has_the_whole_area():
    label = torch.rand(300, generator=_generator()) < 0.7
    latents = torch.stack([torch.randn(300, generator=_generator()), label + 0.0], 1)
    assert latent_auroc(latents, label) == 1.0


def test_found_parts_are_compared_where_the_true_gaussians_are():
    true = torch.tensor([[0.0, 0, 0], [1, 0, 0], [10, 0, 0], [11, 0, 0]])
    body = torch.tensor([0, 0, 1, 1])
    found = torch.tensor([[0.4, 0.2, 0], [10.2, 0, 0], [10.9, 0, 0.1]])
    assert parts_ari(found, torch.tensor([5, 2, 2]), true, body) == 1.0
    assert parts_ari(found, torch.tensor([5, 5, 2]), true, body) < 0.5
