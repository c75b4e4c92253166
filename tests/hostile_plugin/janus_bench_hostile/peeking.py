"""Detectors that look for labels wherever a careless plugin might come across them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from janus_bench import Capabilities, FitContext, FlowBatch


def everything_in_sight(flows: FlowBatch, ctx: FitContext | None) -> str:
    """Batch, arguments, environment, open files, working folder and its parents with the names in them, and the text of
    small files there."""
    seen = [
        repr(vars(flows)),
        repr(list(flows.packets)),
        repr(list(flows.features)),
        repr(sys.argv),
        repr(dict(os.environ)),
        repr(ctx),
    ]
    seen.append(Path("/proc/self/cmdline").read_text())
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            seen.append(str(descriptor.readlink()))
        except OSError:
            continue
    stage = Path.cwd().parent
    for folder in [Path.cwd(), *Path.cwd().parents]:
        seen += [str(path) for path in folder.iterdir()]
    for path in stage.rglob("*"):
        seen.append(str(path))
        if path.is_file() and path.stat().st_size < 100_000:
            seen.append(path.read_bytes().decode("latin-1"))
    return "\n".join(seen)


class Spy:
    """Prints all that it can see, into its log."""

    capabilities = Capabilities(inputs=frozenset({"packets", "features"}))

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        print("SEEN IN FIT", everything_in_sight(benign, ctx))

    def score(self, flows: FlowBatch) -> np.ndarray:
        print("SEEN IN SCORE", everything_in_sight(flows, None))
        print("IDS", *flows.ids)
        return np.zeros(len(flows))


class ByRow:
    capabilities = Capabilities(inputs=frozenset(), learns=False)

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        pass

    def score(self, flows: FlowBatch) -> np.ndarray:
        return np.arange(len(flows), dtype=np.float64)


class ById(ByRow):
    def score(self, flows: FlowBatch) -> np.ndarray:
        return flows.ids.astype(np.float64)
