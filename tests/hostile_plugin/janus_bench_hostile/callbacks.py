"""Run callbacks: one that writes down what it is told where the environment says, in a plugin that afterwards
raises."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from janus_bench import hookimpl


@hookimpl
def janus_bench_run_started(run: Mapping[str, Any]) -> None:
    _write({"started": run["fit"], "runs": len(run["runs"])})


@hookimpl
def janus_bench_run_finished(record: Mapping[str, Any]) -> None:
    _write({"finished": record["key"], "status": record["status"]})
    if "CALLBACKS" in os.environ:
        raise RuntimeError("a callback went wrong")


def _write(line: Mapping[str, Any]) -> None:
    if "CALLBACKS" in os.environ:
        with Path(os.environ["CALLBACKS"]).open("a") as file:
            file.write(json.dumps(line) + "\n")
