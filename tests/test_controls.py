"""length counts packets; random is uniform noise that the seed decides."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from detectors.controls import Length, Random
from janus_bench.conformance.flows import mixed_flows, synthetic_benign
from janus_bench.errors import PluginError
from tests.factories import fitted, nothing


def noise(seed, n):
    return fitted(Random(), nothing(3), seed).score(nothing(n))


def test_length_is_the_number_of_packets():
    flows = mixed_flows()
    scores = Length().score(flows)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, np.expm1(flows.features["n_packets"]))


def test_random_needs_no_input_at_all_and_is_uniform():
    scores = noise(42, 20_000)
    assert scipy.stats.kstest(scores, "uniform").pvalue > 0.001


def test_random_is_decided_by_the_seed():
    np.testing.assert_array_equal(noise(42, 100), noise(42, 100))
    assert abs(np.corrcoef(noise(42, 1000), noise(43, 1000))[0, 1]) < 0.15


def test_random_separates_identical_flows_so_that_a_scan_of_equal_probes_has_auroc_one_half():
    probe = synthetic_benign(0, 1)
    flows = probe.take(np.zeros(4000, dtype=int))
    scores = fitted(Random(), probe).score(flows)
    assert len(np.unique(scores)) == 4000
    standard_error = np.sqrt(4001 / (12 * 2000 * 2000))
    assert abs(roc_auc_score(np.repeat([0, 1], 2000), scores) - 0.5) < 4 * standard_error


def test_random_before_fit_says_so():
    with pytest.raises(PluginError, match="before fit"):
        Random().score(nothing(3))
