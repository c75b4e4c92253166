"""A detector held to the contract in a process of its own, which it may end, flood with output, or crash."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.executors.pipes import EventPipe, LogPipe
from janus_bench import plugins
from janus_bench.conformance import CheckResult, check_names, checked_one_by_one
from janus_bench.errors import DataError, JanusBenchError, PluginError, UsageError
from janus_bench.held import temporary
from janus_bench.one_file import is_file
from janus_bench.params import build_params, parse_request

POLL_S = 0.1
SHOWN = 2000
"""Characters of the beginning and of the end of what a detector printed that are shown."""
REFUSALS = {error.__name__: error for error in (UsageError, DataError, PluginError)}
CHILD = "from harness.checking import child; child()"


def check_apart(target: str, tell: Callable[[str, float], None]) -> tuple[list[CheckResult], str]:
    """The result of every check of ``target`` (a registered name, ``./file.py``, or ``module:Class``), and what the
    detector printed, cut in the middle where it is long; ``tell`` hears which check has begun, and the share of
    them that is behind it.

    A detector that ends the process fails the check that was under way, and those after it were not made.
    JanusBenchError where there is no such detector.
    """
    with temporary("janus-bench-check") as folder:  # in which a child that is killed leaves what it wrote
        return _checked(target, folder, tell)


def _checked(target: str, folder: Path, tell: Callable[[str, float], None]) -> tuple[list[CheckResult], str]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", CHILD, target],  # as fits are: nothing is imported from where the author stands
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    events, log = EventPipe(process.stdout), LogPipe(process.stderr)
    results: dict[str, CheckResult] = {}
    under_way = ""
    try:
        while True:
            ended = process.poll() is not None
            if ended:
                events.stop()
            for line in events.waiting():
                event = json.loads(line)
                if "refused" in event:
                    raise REFUSALS.get(event["refused"], PluginError)(event["message"])
                if "begins" in event:
                    under_way = event["begins"]
                    tell(under_way, len(results) / len(check_names()))
                else:
                    results[event["name"]] = CheckResult(**event)
            if ended:
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
    finally:
        process.kill()
        process.wait()
        log.stop()
    code = process.returncode
    how = f"ended the process with exit code {code}" if code >= 0 else f"ended the process by signal {-code}"
    if not under_way:
        raise PluginError(f"{target} cannot be loaded: it {how}")
    for name in check_names():
        if name == under_way and name not in results:
            results[name] = CheckResult(name, "failed", f"it {how}")
        elif name not in results:
            results[name] = CheckResult(name, "not made", f"it {how} before")
    return [results[name] for name in check_names()], _cut(log.text().decode(errors="replace"))


def _cut(text: str) -> str:
    left_out = len(text) - 2 * SHOWN
    return text if left_out <= 0 else f"{text[:SHOWN]}\n… {left_out:,} characters …\n{text[-SHOWN:]}"


def child() -> None:
    """The other side: a line for each check that begins, and for each result; whatever the detector prints is the
    log."""
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.set_inheritable(told.fileno(), False)
    os.dup2(2, 1)

    def send(**fields: Any) -> None:
        told.write(json.dumps(fields) + "\n")

    try:
        subject = _subject(sys.argv[1])
    except JanusBenchError as error:
        send(refused=type(error).__name__, message=str(error))
        return
    for result in checked_one_by_one(*subject, lambda name: send(begins=name)):
        send(**asdict(result))
    sys.stdout.flush()


def _subject(target: str) -> tuple[Any, Any]:
    """A detector's class, and its parameters where the target asks for some of its own (a preset, or brackets)."""
    name, given = parse_request(target)
    if ":" in name and not is_file(name) and name.partition(":")[0] not in plugins.detector_families():
        return _imported(target), None
    loaded = plugins.load_detector(name)
    if not (loaded.preset or given):
        return loaded.factory, None
    profile = loaded.profiles.get("check", loaded.profiles.get("quick", {}))
    return loaded.factory, build_params(loaded.name, loaded.params_type, profile, loaded.preset, given)


def _imported(target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # noqa: BLE001  whatever the author's module raises is one line
        raise PluginError(f"{target} cannot be loaded: {plugins.one_line(error)}") from None
    try:
        return plugins.describe_detector(target, factory).factory
    except PluginError as error:
        raise PluginError(f"{target} {error}") from None
