"""Detectors that leave something behind, or write where they should not: each costs at most its own rows, at once, and
nothing outlives its fit."""

from __future__ import annotations

import json
import time

import psutil

EXPECTED = {
    "h-thread": "ok",
    "h-daemon": "ok",
    "h-chatters": "ok",
    "h-endless": "error",
    "h-babbles": "ok",
    "h-rtsig": "killed",
    "h-save-fails": "ok",
    "h-save-links": "ok",
    "h-save-pipe": "ok",
    "h-score-link": "error",
    "length": "ok",
}


def test_each_costs_its_rows_and_nothing_is_left(plugin_cli):
    started = time.monotonic()
    done = plugin_cli(
        *(
            "run",
            "--protocol",
            "thresholded",
            "--detectors",
            ",".join(EXPECTED),
            "--datasets",
            "alpha",
            "--seeds",
            "42",
            "--timeout",
            "50s",
        )
    )
    assert time.monotonic() - started < 150  # nobody waits for the timeout
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    runs = plugin_cli.folder / "runs"
    rows = [json.loads(path.read_text()) for path in (runs / "results").glob("*.json")]
    assert {row["spec"]["detector"]: row["status"] for row in rows} == EXPECTED
    assert max(len(row["reason"]) for row in rows) <= 520
    reasons = {row["spec"]["detector"]: row["reason"] for row in rows}
    assert reasons["h-endless"].startswith("ValueError: zzz")
    assert "signal" in reasons["h-rtsig"]
    # whatever ends meanwhile has none
    left = [process.info["cmdline"] or [""] for process in psutil.process_iter(["cmdline"])]
    assert not [words for words in left if words[0] == plugin_cli.command[0] and "left by h-daemon" in words[-1]]
    logs = {row["spec"]["detector"]: (runs / "logs" / f"{row['fit_key']}.log").read_bytes() for row in rows}
    assert logs["h-chatters"].startswith(b"the first line")
    assert b"bytes left out" in logs["h-chatters"]
    assert logs["h-chatters"].endswith(b"y" * 1_000_000)
    assert len(logs["h-chatters"]) < 10_000_000
    assert b"no room for me" in logs["h-save-fails"]
    for path in (runs / "models").rglob("*"):
        assert not path.is_symlink()
        assert path.is_file() or path.is_dir()
    assert "the model is not kept" in done.stderr
