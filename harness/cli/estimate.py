"""What a run will take: how many fits, and how long and how much memory as far as the costs that are stored in its
folder tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plan import Fit
    from janus_bench.records import Recorded


def estimate(fits: Sequence[Fit], records: Iterable[Recorded], jobs: int, folder: Path) -> list[str]:
    """Lines to be said before ``fits`` are run, ``jobs`` at a time; none where there is nothing to run.

    A fit is expected to take what the median fit of its detector took, with the same profile and on the same device,
    and each of its targets what the median target of those took.
    """
    if not fits:
        return []
    fit_s: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    target_s: dict[tuple[str, ...], list[float]] = defaultdict(list)
    peaks: dict[tuple[str, ...], float] = defaultdict(float)
    for record in records:
        if record.status == "ok":
            kind = (record.spec["detector"], record.spec["profile"], record.spec["device"])
            fit_s[kind][record.fit_key] = record.cost.get("fit_s") or 0.0
            target_s[kind].append((record.cost.get("calibrate_s") or 0.0) + (record.cost.get("score_s") or 0.0))
            peaks[kind] = max(peaks[kind], record.cost.get("peak_rss_mb") or 0.0)
    kinds = [(fit.first.detector, fit.first.profile, fit.first.device) for fit in fits]
    known = [
        median(fit_s[kind].values()) + len(fit.runs) * median(target_s[kind])
        for fit, kind in zip(fits, kinds, strict=True)
        if kind in fit_s
    ]
    detectors = dict.fromkeys(fit.label for fit in fits)
    datasets = dict.fromkeys(name for fit in fits for run in fit.runs for name in (run.source, run.target) if name)
    seeds = dict.fromkeys(fit.first.seed for fit in fits)
    counts = (_count(len(detectors), "detector"), _count(len(datasets), "dataset"), _count(len(seeds), "seed"))
    lines = [
        (
            f"{_count(len(fits), 'fit')}, {_count(sum(len(fit.runs) for fit in fits), 'run')} "
            f"({', '.join(counts)}), {jobs} at a time"
        )
    ]
    if not known:
        lines.append(f"how long they take is not known before some have ended: {folder} holds no costs of earlier ones")
    else:
        seconds = max(sum(known) / jobs, *known)
        of = "" if len(known) == len(fits) else f" for {len(known)} of them"
        unknown = dict.fromkeys(fit.label for fit, kind in zip(fits, kinds, strict=True) if kind not in fit_s)
        rest = f"; nothing is known of {', '.join(unknown)}" if unknown else ""
        memory = sum(sorted((peaks[kind] for kind in kinds if kind in fit_s), reverse=True)[:jobs])
        needed = f" and up to {memory / 1000:.1f} GB of memory" if memory else ""
        lines.append(f"about {duration(seconds)}{needed}{of}, by the costs of earlier ones in {folder}{rest}")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """As people say it: ``40 s``, ``12 min``, ``2 h 5 min``, ``3 days 4 h``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
