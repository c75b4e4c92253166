"""FlowBatch and the validation of scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_bench.contract import Capabilities, FlowBatch, validate_scores
from janus_bench.errors import InvalidScores, UndeclaredInput
from tests.factories import CHANNEL_NAMES, nothing, on_packets


def make_batch(lengths: list[int], seed: int = 0) -> FlowBatch:
    rng = np.random.default_rng(seed)
    return on_packets(lengths, lambda _, total: rng.integers(0, 2000, total).astype(np.float32))


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=12), data=st.data())
def test_take_and_padded_agree_with_plain_slicing(lengths, data):
    batch = make_batch(lengths)
    index = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=15))
    taken = batch.take(np.array(index, dtype=np.int64))
    dense, mask = taken.padded(5)
    assert dense.shape == (len(index), 5, 9)
    for row, flow in enumerate(index):
        first, last = int(batch.offsets[flow]), int(batch.offsets[flow + 1])
        for channel, name in enumerate(CHANNEL_NAMES):
            expected = list(batch.packets[name][first:last])[:5]
            assert list(dense[row, : len(expected), channel]) == expected
            assert not dense[row, len(expected) :, channel].any()
        assert mask[row].sum() == min(5, lengths[flow])
        assert taken.features["n_packets"][row] == lengths[flow]


def test_a_batch_cannot_be_changed():
    batch = make_batch([2, 3])
    with pytest.raises(ValueError, match="read-only"):
        batch.packet("size")[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        batch.ids[0] = 1
    with pytest.raises(TypeError):
        batch.features["n_packets"] = np.zeros(2)


def test_undeclared_inputs_are_named():
    bare = nothing(2)
    with pytest.raises(UndeclaredInput, match="no packets"):
        bare.padded()
    with pytest.raises(UndeclaredInput, match="no flow features"):
        bare.feature_matrix()
    with pytest.raises(UndeclaredInput, match="no flow feature x"):
        make_batch([1]).feature_matrix(["x"])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros(2), r"shape \(2,\), expected \(3,\)"),
        (np.zeros((3, 1)), "shape"),
        (np.array([0.0, np.nan, np.inf]), "2 of 3 values"),
        (["a", "b", "c"], "not numeric"),
        (["1", "2", "3"], "not numeric"),
        (np.array([1, 2, 3j]), "not numeric: its type is complex128"),
        (np.array([1, 2, 3 + 0j]), "not numeric: its type is complex128"),
        (np.ma.masked_array([0.1, 0.2, 0.3], [False, True, False]), "masked array"),
        (np.ma.masked_array([0.1, 0.2, 0.3]), "masked array"),
        (np.array([True, False, True]), "not numeric: its type is bool"),
        (np.array(["2024-01-01", "2024-01-02", "2024-01-03"], "datetime64[s]"), "not numeric"),
        (np.array([1, 2, 3], "timedelta64[s]"), "not numeric"),
        (np.array([0.1, 0.2, 0.3], dtype=object), "not numeric: its type is object"),
        (np.array([b"1", b"2", b"3"]), "not numeric"),
        ([0.1, None, 0.3], "not numeric"),
        ([[0.1], [0.2, 0.3], []], "not numeric: ValueError"),
        ({"score": np.array([1, 2, 3j])}, "not numeric"),
        ({"other": np.zeros(3)}, "declared are score"),
    ],
)
def test_invalid_scores_say_what_is_wrong(raw, message):
    with pytest.raises(InvalidScores, match=message):
        validate_scores(raw, 3, ("score",))


@pytest.mark.parametrize(
    "raw",
    [[0, 1, 2], np.arange(3, dtype=np.uint8), np.arange(3, dtype=np.float16), {"score": (0.0, 1.0, 2.0)}],
    ids=repr,
)
def test_real_numbers_of_any_type_are_taken_as_float64(raw):
    column = validate_scores(raw, 3, ("score",))["score"]
    assert column.dtype == np.float64
    assert column.tolist() == [0.0, 1.0, 2.0]


def test_what_raises_when_it_is_read_is_an_invalid_score_too():
    class Hostile:
        def __array__(self, *_, **__):
            raise RuntimeError("no")

    with pytest.raises(InvalidScores, match="RuntimeError"):
        validate_scores(Hostile(), 3, ("score",))


def test_several_columns_need_a_mapping_and_an_aggregator():
    with pytest.raises(InvalidScores, match="mapping"):
        validate_scores(np.zeros(3), 3, ("a", "b"))
    with pytest.raises(ValueError, match="aggregator"):
        Capabilities(inputs=frozenset(), scores=("a", "b"))
    with pytest.raises(ValueError, match="unknown input"):
        Capabilities(inputs=frozenset({"labels"}))
