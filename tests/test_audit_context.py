"""The audit's measures of context: found where something was planted, and not where nothing was."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from datasets_registry.audits.captures import coverage
from datasets_registry.audits.context import benign_captures, capped, context
from datasets_registry.audits.view import Answer, AuditView
from tests.test_audit import keys, value, view_of
from tests.test_context import Network

EVERY = 400  # Flows of a capture.


def network(rates: dict[str, float], rng: np.random.Generator, spread: float = 0.0) -> Network:
    """A capture each of flows of one host of its own to one server, so many a second; ``spread``: how unevenly."""
    names = list(rates)
    gaps = [
        1 / rates[name] * rng.gamma(1 / spread**2, spread**2, EVERY) if spread else np.full(EVERY, 1 / rates[name])
        for name in names
    ]
    table = pl.DataFrame(
        {
            "src_ip": np.repeat([f"192.0.2.{i}" for i in range(len(names))], EVERY),
            "dst_ip": ["198.51.100.1"] * EVERY * len(names),
            "dst_port": np.full(EVERY * len(names), 443, np.uint16),
            "proto": np.full(EVERY * len(names), 6, np.uint8),
            "ts_start": 1.6e9 + np.concatenate([np.cumsum(gap) for gap in gaps]),
        }
    )
    return Network(table, np.repeat(names, EVERY).tolist())


def audited(rates: dict[str, float], attacks: set[str], seed: int, spread: float = 0.0) -> Answer:
    found = network(rates, np.random.default_rng(seed), spread)
    attack = np.isin(found.files, list(attacks))
    view = view_of_all(attack, np.array(found.files))
    benign = np.flatnonzero(~attack)
    parts = {"train": benign[::2], "test_benign": benign[1::2], "test_attack": np.flatnonzero(attack)}
    return context(view, found, parts, seed)  # type: ignore[arg-type]


def view_of_all(attack: np.ndarray, captures: np.ndarray, **columns: Any) -> AuditView:
    packet = [(0, 60, 100, 0.0)]
    numbers = np.unique(captures, return_inverse=True)[1]
    return view_of([packet] * len(attack), attack.tolist(), capture=numbers, **columns)


@pytest.fixture(autouse=True)
def unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets_registry.context.first_answers", lambda store, start: np.full(len(start), np.inf))


def test_context_alone_is_one_where_attacks_are_in_a_crowd_and_a_half_where_nothing_differs():
    crowd = audited({"a": 0.2, "b": 0.25, "c": 20.0}, {"c"}, 1, spread=0.5)
    assert value(crowd, "context.alone") > 0.95
    assert value(crowd, "context.thinned") > 0.95
    assert "context.alone" in keys(crowd)
    assert "context.thinned" not in keys(crowd)  # a crowd is one at any density
    alike = audited(dict.fromkeys("abcdef", 1.0), {"e", "f"}, 2, spread=0.5)
    assert value(alike, "context.alone") == pytest.approx(0.5, abs=0.1)
    assert not keys(alike) & {"context.alone", "context.thinned"}


def test_what_depends_on_the_density_of_the_recording_is_told():
    """Clocks that beat five times while the others beat four times: seen in whole captures, lost in thinned ones."""
    found = audited({"a": 1.0, "b": 1.0, "c": 1.25}, {"c"}, 3)
    assert value(found, "context.alone") > 0.95
    assert value(found, "context.thinned") < 0.9
    (finding,) = [finding for finding in found.findings if finding.key == "context.thinned"]
    assert finding.severity == "warning"
    assert "add the captures whole" in finding.text


def test_benign_captures_are_told_apart_by_context_where_they_differ_in_it():
    rng = np.random.default_rng(4)
    for rates, low, high in (({"a": 0.1, "b": 10.0}, 0.98, 1.0), ({"a": 1.0, "b": 1.0}, 0.0, 0.7)):
        found = network(rates, rng)
        answer = benign_captures(view_of_all(np.zeros(2 * EVERY, bool), np.array(found.files)), found, 1)  # type: ignore[arg-type]
        assert low <= value(answer, "context.captures") <= high
        assert bool(answer.findings) == (low > 0.9)
    one = network({"a": 1.0}, rng)
    answer = benign_captures(view_of_all(np.zeros(EVERY, bool), np.array(one.files)), one, 1)  # type: ignore[arg-type]
    assert value(answer, "context.captures") is None


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([80, 80, 80, 60], 240 / 300),  # a cap that three reach
        ([80, 80, 61, 79], 0.0),  # two alike are chance
        ([49, 49, 49, 49], 0.0),  # and so are small numbers
        ([60, 60, 60, 90, 90, 90], 1.0),  # two caps
        ([100, 100, 100, 99, 97, 104], 0.0),  # many of a size, of which three are equal
        ([100, 100, 100, 99, 97, 120], 300 / 616),
    ],
)
def test_flows_that_were_capped_by_label_are_found(sizes, expected):
    captures = np.repeat(np.arange(len(sizes)) // 2, sizes)
    family = np.repeat([f"family {i % 2}" for i in range(len(sizes))], sizes)
    answer = capped(view_of_all(np.arange(sum(sizes)) % 2 == 0, captures, family=family))
    assert value(answer, "context.capped") == pytest.approx(expected)
    assert keys(answer) == ({"context.capped"} if expected else set())


def test_flows_without_a_label_are_said_to_be_in_no_context():
    view = view_of_all(np.array([True, False]), np.zeros(2))
    lost = view.manifest | {"unmatched_flows": 3}
    (finding,) = coverage(view_of_all(np.array([True, False]), np.zeros(2), manifest=lost)).findings
    assert finding.severity == "warning"
    assert "context" in finding.text
