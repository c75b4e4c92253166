"""What the plugin adds besides its detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from janus_bench import Dataset, Metric, ProtocolSpec, Renderer, TestScores, hookimpl
from janus_bench_example.captures import write


@hookimpl
def janus_bench_datasets() -> list[Dataset]:
    return [
        Dataset(
            "example_lan",
            "SYNTHETIC: DNS, web and one port scan",
            write,
            synthetic=True,
            version="1",
            licence="MIT (generated)",
        )
    ]


@hookimpl
def janus_bench_protocols() -> list[ProtocolSpec]:
    def off_diagonal(datasets: Any) -> list[tuple[str, str]]:
        return [(source, target) for source in datasets for target in datasets if source != target]

    return [ProtocolSpec("example-off-diagonal", "Only transfer between different networks.", off_diagonal, minimum=2)]


@hookimpl
def janus_bench_metrics() -> list[Metric]:
    def tpr_at_fpr_10pct(cell: TestScores) -> float | None:
        benign, attacks = cell.score[~cell.attack], cell.score[cell.attack]
        if len(benign) < 10 or not len(attacks):
            return None
        return float(np.mean(attacks > np.quantile(benign, 0.9, method="higher")))

    return [
        Metric(
            "example_tpr_at_fpr_10pct", "True positive rate at a false positive rate of at most 10 %.", tpr_at_fpr_10pct
        )
    ]


@hookimpl
def janus_bench_renderers() -> list[Renderer]:
    def tsv(document: Mapping[str, Any], width: int, color: bool) -> str:
        lines = ["detector\tsource\ttarget\tmean"]
        for row in document["rows"]:
            lines += [f"{row['detector']}\t{cell['source']}\t{cell['target']}\t{cell['mean']}" for cell in row["cells"]]
        return "\n".join(lines)

    return [Renderer("example-tsv", "One line per cell, separated by tabs.", tsv)]
