import numpy as np
import pytest

from weft_training.metrics import classification, ndcg
from weft_training.reference import histogram


def test_histogram_of_many_values_has_ten_equal_bins():
    values = np.random.default_rng(3).permutation(1000).astype(np.float32)
    bins = histogram(values)
    assert len(bins["edges"]) == 9
    assert bins["shares"] == pytest.approx([0.1] * 10, abs=0.002)


def test_histogram_keeps_equal_deciles_once_and_a_value_on_an_edge_falls_below_it():
    assert histogram(np.array([0.0] * 95 + [1, 2, 3, 4, 5])) == {"edges": [0.0], "shares": [0.95, 0.05]}
    assert histogram(np.array([4.0, 4.0, np.nan])) == {"edges": [4.0], "shares": [1.0, 0.0]}
    assert histogram(np.array([np.nan])) == {"edges": [], "shares": [0.0]}


def test_classification_by_hand():
    metrics = classification(np.array([1.0, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))
    assert metrics["auc"] == 0.75
    assert metrics["pr_auc"] == pytest.approx((1 + 2 / 3) / 2)
    assert metrics["recall_at_precision_90"] == 0.5
    assert metrics["base_rate"] == 0.5


def test_equal_scores_are_one_threshold():
    assert classification(np.array([1.0, 0, 0]), np.array([0.5, 0.5, 0.1]))["recall_at_precision_90"] == 0


def test_ndcg_by_hand():
    group, gain = np.array([5, 5, 5, 8, 8]), np.array([0.0, 1, 2, 0, 0])
    best = ndcg(group, gain, np.array([1.0, 2, 3, 1, 2]))
    assert best == 1
    worst = ndcg(group, gain, np.array([3.0, 2, 1, 1, 2]))
    assert worst == pytest.approx((1 / np.log2(3) + 3 / 2) / (3 + 1 / np.log2(3)))
    assert ndcg(group, gain, np.zeros(5)) == pytest.approx(worst)
