"""What ``score --format eve`` writes, read by a published reader of Suricata's EVE: pirogue-mongoose's collector."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.test_operate import network, scored  # noqa: F401  the fixture


class _Recorder:
    """Takes the place of the collector's queue."""

    def __init__(self) -> None:
        self.alerts: list[Any] = []

    def publish(self, _topic: object, alert: object) -> None:
        self.alerts.append(alert)


def test_a_published_reader_of_eve_reads_every_alert(network: Path, tmp_path: Path) -> None:  # noqa: F811
    collect = pytest.importorskip(
        "mongoose.collect.suricata_eve_collector", reason="pirogue-mongoose, a reader of EVE, is not installed"
    )
    from mongoose.models.configuration import SuricataEveConfiguration

    out = tmp_path / "eve.json"
    scored(network / "model", network / "captures" / "segment_10.pcap", form="eve", output=out, threshold="p50")
    events = [json.loads(line) for line in out.read_text().splitlines()]
    reader = collect.SuricataEveCollector(SuricataEveConfiguration(socket_path=tmp_path / "socket"))
    reader.processing_queue = _Recorder()
    for event in events:
        reader._process_event(event)
    read = reader.processing_queue.alerts
    assert len(read) == len(events) >= 55
    for event, alert in zip(events, read, strict=True):
        for name, key in (("dst_ip", "dest_ip"), ("dst_port", "dest_port"), ("protocol", "proto")):
            assert getattr(alert, name) == event[key]
        for name in ("src_ip", "src_port", "flow_id", "community_id"):
            assert getattr(alert, name) == event[name]
        assert (alert.signature, alert.severity) == (event["alert"]["signature"], event["alert"]["severity"])
        assert alert.timestamp == datetime.fromisoformat(event["timestamp"]).timestamp()
