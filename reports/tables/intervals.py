"""Intervals and tie groups put into a leaderboard document, and the notes that they need.  Standard library only."""

from collections.abc import Mapping
from typing import TypeVar, cast

from reports.tables.document import (
    Board,
    BoardCell,
    BoardInterval,
    BoardRow,
    BoardStatistics,
    SummaryName,
    TableStatistics,
)

Part = TypeVar("Part")


def with_statistics(document: Board, statistics: TableStatistics) -> Board:
    """Rows get ``intervals`` and (from schema version 2 on) ``gain``, cells ``low`` and ``high``; the document the rest
    under ``statistics``, which is of the same rows."""
    rows: list[BoardRow] = []
    ranked = statistics["summaries"].get(ranking_summary(document))
    gains = {} if ranked is None or document["schema_version"] < 2 else ranked["gains"]
    for row in document["rows"]:
        label = row["detector"]
        own = {
            name: found["detectors"][label]
            for name, found in statistics["summaries"].items()
            if label in found["detectors"]
        }
        bounds = {
            (cell["source"], cell["target"]): (cell["low"], cell["high"])
            for found in own.values()
            for cell in found["cells"]
        }
        cells: list[BoardCell] = []
        for cell in row["cells"]:
            low, high = bounds.get((cell["source"], cell["target"]), (None, None))
            cells.append({**cell, "low": low, "high": high})
        gain: BoardRow = {**row, "gain": gains[label]} if label in gains else row
        rows.append(
            {**gain, "intervals": {name: part_of(found, BoardInterval) for name, found in own.items()}, "cells": cells}
        )
    return {**document, "rows": rows, "statistics": part_of(statistics, BoardStatistics)}


def part_of(whole: Mapping[str, object], kind: type[Part]) -> Part:
    """The keys of ``kind``, a TypedDict, of something that has them all."""
    return cast("Part", {name: whole[name] for name in kind.__annotations__})


def ranking_summary(document: Board) -> SummaryName:
    """The mean that rows are ranked by."""
    cross = any(cell["source"] != cell["target"] for row in document["rows"] for cell in row["cells"])
    return "cross_mean" if cross else "within_mean"


def interval_notes(document: Board) -> list[str]:
    """What the intervals are, why some are absent, and which tests are refused."""
    statistics = document["statistics"]
    if statistics is None:
        return []
    lines = [
        "95 % networks: for other networks like these; 95 % these: for other captures, seeds and flows of "
        "these very networks; paired cluster "
        f"bootstrap (dataset, capture, seed, flow; {statistics['resamples']} resamples)",
        (
            "tie: rows that share a letter do not differ significantly (5 %, Holm over all pairs); for other "
            "networks, and for these"
        ),
    ]
    found = [interval for row in document["rows"] for interval in row["intervals"].values()]
    others, fixed = (
        dict.fromkeys(filter(None, reasons))
        for reasons in ((of["reason"] for of in found), (of["reason_these"] for of in found))
    )
    lines += [*(f"no 95 % networks: {reason}" for reason in others), *(f"no 95 % these: {reason}" for reason in fixed)]
    absent = statistics["absent"].get(ranking_summary(document), {})
    lines += [f"no intervals for {label}: {reason}" for label, reason in absent.items()]
    return [*lines, *([statistics["warning"]] if statistics["warning"] else [])]
