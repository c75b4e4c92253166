"""Intervals and tie groups put into a leaderboard document, and the notes that they need.  Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["interval_notes", "ranking_summary", "with_statistics"]

NUMBERS = ("low", "high", "reason", "group", "low_these", "high_these", "reason_these", "group_these")


def with_statistics(document: Mapping[str, Any], statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Rows get ``intervals`` (summary → ``NUMBERS``), cells ``low`` and ``high``; the document the rest under ``statistics``.

    statistics  ``reports.statistics.intervals.leaderboard_statistics`` of the same rows
    """
    summaries = statistics["summaries"]
    rows = []
    for row in document["rows"]:
        own = {name: found["detectors"][row["detector"]] for name, found in summaries.items() if row["detector"] in found["detectors"]}
        bounds = {(cell["source"], cell["target"]): cell for found in own.values() for cell in found["cells"]}
        cells = []
        for cell in row["cells"]:
            known = bounds.get((cell["source"], cell["target"]), {})
            cells.append(cell | {"low": known.get("low"), "high": known.get("high")})
        intervals = {name: {number: found[number] for number in NUMBERS} for name, found in own.items()}
        rows.append(row | {"intervals": intervals, "cells": cells})
    kept = {name: statistics[name] for name in ("metric", "resamples", "warning", "absent")}
    return {**document, "rows": rows, "statistics": kept}


def ranking_summary(document: Mapping[str, Any]) -> str:
    """The mean that rows are ranked by."""
    cross = any(cell["source"] != cell["target"] for row in document["rows"] for cell in row["cells"])
    return "cross_mean" if cross else "within_mean"


def interval_notes(document: Mapping[str, Any]) -> list[str]:
    """What the intervals are, why some are absent, and which tests are refused."""
    statistics = document["statistics"]
    if statistics is None:
        return []
    lines = [
        "95 % networks: for other networks like these; 95 % these: for other captures, seeds and flows of these very networks; paired cluster "
        f"bootstrap (dataset, capture, seed, flow; {statistics['resamples']} resamples)",
        "tie: rows that share a letter do not differ significantly (5 %, Holm over all pairs); for other networks, and for these",
    ]
    found = [interval for row in document["rows"] for interval in row["intervals"].values()]
    for word, suffix in (("networks", ""), ("these", "_these")):
        lines += [f"no 95 % {word}: {reason}" for reason in dict.fromkeys(interval[f"reason{suffix}"] for interval in found) if reason]
    absent = statistics["absent"].get(ranking_summary(document), {})
    lines += [f"no intervals for {label}: {reason}" for label, reason in absent.items()]
    return [*lines, *([statistics["warning"]] if statistics["warning"] else [])]
