"""The known answers are what they say: each anomaly shows in what it changes, and in nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.controls import Length
from janus_bench.contract import FlowBatch
from tests.factories import context
from tests.planted_sequences import dependence, of_length, separation, sequences


def moments(flows: FlowBatch) -> NDArray[np.float64]:
    """Mean and mean square of every channel of each flow: what ignores the order of packets."""
    columns = np.column_stack([np.log1p(column) for column in flows.packets.values()])
    summed = np.add.reduceat(np.hstack([columns, columns**2]), flows.offsets[:-1])
    return summed / flows.lengths[:, None]


def distances(train: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """To the nearest training row, columns in units of the training rows' spread."""
    from sklearn.neighbors import NearestNeighbors

    mean, spread = train.mean(axis=0), train.std(axis=0) + 1e-9
    neighbours = NearestNeighbors(n_neighbors=1).fit((train - mean) / spread)
    return neighbours.kneighbors((rows - mean) / spread)[0][:, 0]


def test_another_order_shows_neither_in_the_length_nor_in_any_moment_and_the_other_kinds_do():
    planted = sequences()
    length = Length()
    length.fit(planted.train, context())
    assert all(auroc == pytest.approx(0.5, abs=0.06) for auroc in planted.aurocs(length).values())
    usual = distances(moments(planted.train), moments(planted.benign))
    seen = {
        kind: separation(usual, distances(moments(planted.train), moments(flows)))
        for kind, flows in planted.anomalies.items()
    }
    assert seen["order"] == pytest.approx(0.5, abs=0.06)
    assert seen["one"] > 0.7
    assert seen["far"] == 1.0


def test_flows_of_one_length_have_it():
    assert set(of_length(20, 11).lengths) == {11}


def test_a_broken_dependence_shows_in_no_single_column_and_in_all_of_them_together():
    planted = dependence()
    train, usual, broken = (
        flows.feature_matrix() for flows in (planted.train, planted.benign, planted.anomalies["dep"])
    )
    single = [separation(abs(usual[:, i]), abs(broken[:, i])) for i in range(20)]
    assert np.mean(single) == pytest.approx(0.5, abs=0.03)
    inverse = np.linalg.inv(np.cov(train.T))
    assert separation(*(np.einsum("ni,ij,nj->n", rows, inverse, rows) for rows in (usual, broken))) > 0.99
