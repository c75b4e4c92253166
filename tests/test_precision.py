"""The gate of the fast mode: at half precision no AUROC of JANUS moves by more than .002 (docs/costs.md)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from detectors.janus import Janus
from protocols.aggregators import fit_aggregator
from tests.test_janus import TINY, fitted, flows_of, mixed_lengths, table

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))],
)
def test_bf16_moves_no_auroc_by_more_than_the_gate(device: str, tmp_path: Path) -> None:
    """Autocast on the CPU stands in for the GPU's, which it shares its rules with; the detector itself allows it on
    CUDA only."""
    detector = fitted(replace(TINY, epochs=6), tmp_path, 300)
    columns = Janus.capabilities.scores
    network = detector.read(flows_of(mixed_lengths(1)))[0].to(device)
    calibration, benign, attacks = (
        flows_of(mixed_lengths(800, seed), seed, shift) for seed, shift in ((5, 0.0), (6, 0.0), (7, 1.2))
    )
    attack = np.repeat([False, True], 800)
    found = {}
    for precision in ("fp32", "bf16"):
        network.precision = precision
        aggregate = fit_aggregator(Janus.capabilities.aggregator, table(detector.score(calibration)), columns)
        scores = np.concatenate([table(detector.score(flows)) for flows in (benign, attacks)])
        scalars = [aggregate(scores), *scores.T[:10]]
        found[precision] = scalars, np.array([roc_auc_score(attack, scalar) for scalar in scalars])
    (full, areas), (half, moved) = found["fp32"], found["bf16"]
    assert areas.max() > 0.7
    assert not np.array_equal(full[0], half[0])
    assert moved == pytest.approx(areas, abs=0.002)
