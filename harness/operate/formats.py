"""Records as text: a table for people, JSON lines, CSV, and EVE JSON as Suricata writes it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.cli.console import visible
from harness.operate.alerts import FlowRecord
from harness.operate.community_id import ICMP, ICMPV6

SIGNATURE_ID = 1_000_001  # Of the range that is left to local rules.
PROTOCOLS = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 47: "GRE", 50: "ESP", 58: "IPv6-ICMP", 132: "SCTP"}
"""Names as Suricata has them."""


@dataclass(frozen=True)
class Format:
    """``head``: what stands before all records; ``line``: a record, with its line break."""

    head: str
    line: Callable[[FlowRecord], str]


def _time(record: FlowRecord, which: str) -> str:
    return getattr(record, which).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def as_object(record: FlowRecord) -> dict[str, Any]:
    """A record as JSON lines have it; both ways as ``sent`` and ``received`` by the initiator."""
    return {
        "alert": record.alert,
        "score": record.score,
        "threshold": record.threshold,
        "p_value": record.p_value,
        "first": _time(record, "first"),
        "last": _time(record, "last"),
        "src_ip": record.src_ip,
        "src_port": record.src_port,
        "dst_ip": record.dst_ip,
        "dst_port": record.dst_port,
        "proto": record.proto,
        "packets": {"sent": record.packets[0], "received": record.packets[1]},
        "bytes": {"sent": record.bytes[0], "received": record.bytes[1]},
        "community_id": record.community_id,
        "why": list(record.why),
        "detector": record.detector,
        "capture": record.capture,
    }


def _json(record: FlowRecord) -> str:
    return _line(as_object(record))


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


CSV_COLUMNS = (
    *("alert", "score", "threshold", "p_value", "first", "last", "src_ip", "src_port", "dst_ip", "dst_port", "proto"),
    *("packets_sent", "packets_received", "bytes_sent", "bytes_received", "community_id", "why", "detector", "capture"),
)


def _csv(record: FlowRecord) -> str:
    found = as_object(record)
    for name in ("packets", "bytes"):
        found |= {f"{name}_{way}": count for way, count in found[name].items()}
    found |= {"alert": str(record.alert).lower(), "why": "; ".join(record.why)}
    return _csv_row([found[name] for name in CSV_COLUMNS])


def _csv_row(values: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if value is None else value for value in values])
    return text.getvalue()


def _eve(record: FlowRecord) -> str:
    """``event_type`` alert, or flow for one that does not alert; keys as Suricata 7.0.16 documents them."""
    fields: dict[str, Any] = {
        "timestamp": record.last.strftime("%Y-%m-%dT%H:%M:%S.%f+0000"),
        "flow_id": _flow_id(record),
        "event_type": "alert" if record.alert else "flow",
        "src_ip": record.src_ip,
        "dest_ip": record.dst_ip,
        "proto": PROTOCOLS.get(record.proto, f"{record.proto:03d}"),
    }
    if record.proto in (ICMP, ICMPV6):
        fields |= {"icmp_type": record.icmp[0], "icmp_code": record.icmp[1]}
    else:
        fields |= {"src_port": record.src_port, "dest_port": record.dst_port}
    if record.community_id is not None:
        fields["community_id"] = record.community_id
    if record.alert:
        fields["alert"] = {
            "action": "allowed",
            "gid": 1,
            "signature_id": SIGNATURE_ID,
            "rev": 1,
            "signature": f"janus-bench {record.detector}: unusual flow",
            "category": "Unusual network traffic",
            "severity": 3,
        }
    fields["flow"] = {
        "pkts_toserver": record.packets[0],
        "pkts_toclient": record.packets[1],
        "bytes_toserver": record.bytes[0],
        "bytes_toclient": record.bytes[1],
        "start": record.first.strftime("%Y-%m-%dT%H:%M:%S.%f+0000"),
    }
    fields["janus_bench"] = {
        "score": record.score,
        "threshold": record.threshold,
        "p_value": record.p_value,
        "why": list(record.why),
        "detector": record.detector,
        "capture": record.capture,
    }
    return _line(fields)


def _flow_id(record: FlowRecord) -> int:
    """The same for every event of a flow, below 2⁵³ so that every reader of JSON has it whole."""
    ends = record.src_ip, record.src_port, record.dst_ip, record.dst_port, record.proto, _time(record, "first")
    return int.from_bytes(hashlib.blake2b(repr(ends).encode(), digest_size=8).digest()) >> 11


WIDTHS = {"last": 27, "p": 8, "score": 10, "proto": 5, "packets": 7, "bytes": 12}
ENDS = "initiator → responder"


def _cells(record: FlowRecord) -> dict[str, str]:
    return {
        "last": _time(record, "last"),
        "p": f"{record.p_value:.2g}",
        "score": f"{record.score:.5g}",
        "proto": PROTOCOLS.get(record.proto, str(record.proto)),
        "packets": f"{record.packets[0]}/{record.packets[1]}",
        "bytes": f"{record.bytes[0]}/{record.bytes[1]}",
    }


def _ends(record: FlowRecord) -> str:
    alert = "ALERT" if record.alert else ""
    return f"{alert:<5}  {record.src_ip}:{record.src_port} → {record.dst_ip}:{record.dst_port}"


def _aligned(cells: Mapping[str, str]) -> str:
    return "  ".join(cell.ljust(WIDTHS[name]) for name, cell in cells.items())


def _table(record: FlowRecord) -> str:
    """All of it on a line, whose end is ragged: programs read it line by line."""
    return visible(f"{_aligned(_cells(record))}  {_ends(record):<50}  {'; '.join(record.why)}").rstrip() + "\n"


def folded(width: int) -> Format:
    """The table for a terminal of ``width`` columns: a flow's numbers, below them its ends, below these each reason."""

    def line(record: FlowRecord) -> str:
        lines = [_aligned(_cells(record))]
        for indent, text in (("", _ends(record)), *((" " * 7, reason) for reason in record.why)):
            lines += textwrap.wrap(
                visible(text), max(width, 40), initial_indent=f"  {indent}", subsequent_indent=f"    {indent}"
            )
        return "\n".join(part.rstrip() for part in lines) + "\n"

    heads = {name: name for name in WIDTHS}
    return Format(f"{_aligned(heads).rstrip()}\n         {ENDS}\n", line)


FORMATS: Mapping[str, Format] = {
    "table": Format(f"{_aligned({name: name for name in WIDTHS})}  {'':<5}  {ENDS:<43}  why\n", _table),
    "jsonl": Format("", _json),
    "csv": Format(_csv_row(list(CSV_COLUMNS)), _csv),
    "eve": Format("", _eve),
}
