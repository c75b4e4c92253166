"""What a detector itself says of an alert: the packet that was planted, in words, beside the alert."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from detectors.janus import Janus, JanusContext, JanusContextParams, JanusPlus, JanusPlusParams
from detectors.janus.patches import PointMetric
from harness import worker
from harness.cli import operate
from harness.cli import score as scoring
from janus_bench.contract import FlowBatch
from tests.conftest import write_example_captures
from tests.test_janus import TINY, context, flows_of, mixed_lengths
from tests.test_janus_context import with_context

BENIGN, VALIDATION, TARGET = (with_context(flows_of(mixed_lengths(80, seed), seed), seed) for seed in range(3))
LONG = np.flatnonzero(TARGET.lengths > 4)
PLANTED = {int(LONG[0]): 2, int(LONG[3]): 0, int(LONG[7]): 4}
"""Flow → which of its packets is a hundred times as large as any other."""


def planted(flows: FlowBatch) -> FlowBatch:
    assert flows.offsets is not None
    size = flows.packet("size").copy()
    for flow, packet in PLANTED.items():
        size[flows.offsets[flow] + packet] = 100 * size.max()
    return FlowBatch(flows.ids, flows.offsets, {**flows.packets, "size": size}, flows.features)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Janus(TINY), r"^packet (\d+) of (\d+): size least expected \([\d.e+]+ nats\)$"),
        (
            lambda: JanusPlus(JanusPlusParams(**asdict(TINY))),
            r"^packet (\d+) of (\d+): furthest from any benign packet \([\d.]+, mean of .* [\d.]+\), most in size$",
        ),
        (
            lambda: JanusContext(JanusContextParams(**asdict(TINY))),
            r"^p = [\d.e-]+ by its packets, [\d.e-]+ as a whole among .*; packet (\d+) of (\d+): .* in size$",
        ),
    ],
    ids=["janus", "janus-plus", "janus-context"],
)
def test_the_packet_that_was_planted_is_named(made, said, tmp_path):
    detector = made()
    detector.fit(BENIGN, context(VALIDATION, tmp_path))
    if hasattr(detector, "calibrate"):
        detector.calibrate(TARGET)
    flows = planted(TARGET)
    texts = detector.explain(flows)
    assert len(texts) == len(flows)
    for flow, packet in PLANTED.items():
        found = re.match(said, texts[flow])
        assert found is not None, texts[flow]
        assert (int(found[1]), int(found[2])) == (packet + 1, flows.lengths[flow])
    if isinstance(detector, JanusContext):
        for text, score in zip(texts, detector.score(flows), strict=True):
            by_packets, as_whole = map(float, re.findall(r"[\d.]+(?:e[+-]\d+)?", text)[:2])
            assert by_packets * as_whole == pytest.approx(np.exp(-score), rel=0.11)  # two digits each


def test_a_difference_of_mapped_points_is_led_back_to_its_entries():
    rng = np.random.default_rng(0)
    training, validation = (rng.normal(2.0, 3.0, (50, 6)).astype(np.float32) for _ in range(2))
    metric = PointMetric.fitted(training, validation, 2)
    apart = metric(training[:20]).astype(np.float64) - metric(validation[:20])
    np.testing.assert_allclose(metric.before(apart), (training[:20] - validation[:20]) / metric.scale, atol=1e-4)


def test_what_a_detector_says_stands_first_among_the_reasons_of_an_alert(tmp_path: Path) -> None:
    captures = write_example_captures(tmp_path / "captures")
    benign, tested = [captures / f"segment_{number:02d}.pcap" for number in range(4)], captures / "segment_05.pcap"
    tiny = "janus-plus[d_model=16,n_layers=1,n_heads=2,epochs=2]"
    operate.fit(tiny, benign, tmp_path / "model", device="cpu")
    scoring.score(tmp_path / "model", [tested], "fpr=0.1", form="jsonl", everything=True, output=tmp_path / "out")
    records = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    alerts = [record for record in records if record["alert"]]
    assert alerts
    assert all(record["why"] == [] for record in records if not record["alert"])
    for record in alerts:
        own, *others = record["why"]
        assert re.match(rf"packet \d+ of {sum(record['packets'].values())}: furthest from any benign packet", own)
        assert len(others) == 3
        assert not any(reason.startswith("packet ") for reason in others)


def test_explanations_that_are_not_one_text_a_flow_are_refused_and_long_ones_are_cut() -> None:
    class Says:
        def __init__(self, said: list[object]) -> None:
            self.said = said

        def explain(self, flows: FlowBatch) -> list[object]:
            return self.said

    flows = TARGET.take(slice(0, 2))
    for wrong in (["one"], ["one", None], ["one", "two", "three"]):
        with pytest.raises(ValueError, match=r"explain\(\) must return one text for each of 2 flows"):
            worker._explained(Says(wrong), flows)
    first, second = worker._explained(Says(["", "two\nlines " + "x" * 9999]), flows)
    assert first == ""
    assert second.startswith("two lines x")
    assert len(second) < 600
