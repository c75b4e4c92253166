"""What a worker makes of a job, in this process: batches from files, the context of a fit, blocks of scoring, and
what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import worker
from harness.executors.local import _environment, _family, _used
from harness.jobs import (
    Event,
    Failed,
    Finished,
    FitDone,
    Job,
    JobTarget,
    ModelSaved,
    Progress,
    Scored,
    event_from,
    job_from,
    line_of,
    own_code,
    short,
)
from janus_bench.contract import Capabilities, FlowBatch, PacketStream
from janus_bench.errors import InvalidScores, JanusBenchError
from janus_bench.plugins import LoadedDetector

LENGTHS = [2, 0, 3, 1, 4, 1, 2]
ROLES = ("source_val", "cal_a", "cal_b", "test")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


class Heard:
    """Takes the place of the pipe to the parent."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def send(self, event: Event) -> None:
        if not isinstance(event, Progress):  # how far it is tells nothing of what was done
            self.events.append(event)

    def failed(self, error: BaseException, target: str | None = None) -> None:
        self.events.append(Failed("error", str(error), target))


class Keeps:
    """A detector that keeps what it is given, on the class, since the worker makes it."""

    inputs = frozenset({"packets"})
    capabilities = Capabilities(inputs=inputs, calibrates=True)
    given: list[tuple[str, Any]]

    def fit(self, benign: FlowBatch, ctx: Any) -> None:
        self.given.append(("fit", benign))
        self.given.append(("context", ctx))

    def calibrate(self, benign: FlowBatch) -> None:
        self.given.append(("calibrate", benign))

    def score(self, flows: FlowBatch) -> np.ndarray:
        self.given.append(("score", flows))
        return flows.ids.astype(np.float64)


def stage(folder: Path, name: str, first: int, *, stream: bool = False) -> None:
    """A batch of seven flows with ids from ``first`` on; every packet's size is its flow's id, its gap the place in
    the flow."""
    ids = np.arange(first, first + len(LENGTHS), dtype=np.uint64)
    place = folder / "in" / name
    (place / "ids").mkdir(parents=True)
    np.save(place / "ids" / "ids.npy", ids)
    if stream:
        (place / "stream").mkdir()
        for field in fields(PacketStream):
            kind = {"time": np.float64, "size": np.uint32, "capture": np.int32, "flow": np.int64}.get(
                field.name, np.uint64
            )
            np.save(
                place / "stream" / f"{field.name}.npy",
                (np.arange(len(ids)) if field.name in ("time", "flow") else np.zeros(len(ids))).astype(kind),
            )
        return
    (place / "packets").mkdir()
    np.save(place / "packets" / "offsets.npy", np.concatenate([[0], np.cumsum(LENGTHS)]))
    np.save(place / "packets" / "size.npy", np.repeat(ids, LENGTHS).astype(np.uint16))
    np.save(place / "packets" / "iat.npy", np.concatenate([np.arange(length) for length in LENGTHS]).astype(np.float32))


def worked(
    monkeypatch: pytest.MonkeyPatch, folder: Path, job: Job, detector: type = Keeps
) -> tuple[list[tuple[str, Any]], list[Event]]:
    """What the detector was given, and what the parent was told."""
    kind = type("Given", (detector,), {"given": []})
    monkeypatch.setattr(
        worker,
        "load_planned",
        lambda name: LoadedDetector(name, kind, kind.capabilities, getattr(kind, "Params", None), {}),
    )
    heard = Heard()
    (folder / "scratch").mkdir(exist_ok=True)
    worker.run(job, heard)  # type: ignore[arg-type]
    return kind.given, heard.events


@pytest.fixture
def job(tmp_path: Path) -> Job:
    for number, name in enumerate(
        ("train0", "train1", "validate", "hints", "source_val", "t0_calibrate", "t0_cal_a", "t0_cal_b", "t0_test")
    ):
        stage(tmp_path, name, 100 * (number + 1))
    score = {role: role if role == "source_val" else f"t0_{role}" for role in ROLES}
    target = JobTarget("t0", "t0_calibrate", score)
    return Job(
        str(tmp_path),
        own_code(),
        "x",
        {},
        7,
        "cpu",
        3,
        60.0,
        2**33,
        ("train0", "train1"),
        "validate",
        "hints",
        (target,),
    )


def ids(flows: FlowBatch) -> list[int]:
    return [int(each) // 100 for each in flows.ids[:: len(LENGTHS)]]


def test_batches_go_where_the_job_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Job) -> None:
    given, events = worked(monkeypatch, tmp_path, job)
    assert [(what, ids(flows)) for what, flows in given if what != "context"] == [
        ("fit", [1, 2]),
        ("calibrate", [6]),
        *[("score", [number]) for number in (7, 8, 9, 5)],
    ]
    assert [type(event) for event in events] == [FitDone, Scored]
    for role, first in zip(ROLES, (500, 700, 800, 900), strict=True):
        scores = np.load(tmp_path / "out" / "t0" / f"{role}.npy")
        assert scores.tolist() == [[float(first + place)] for place in range(len(LENGTHS))]


def test_the_context_of_a_fit_is_the_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Job) -> None:
    before = time.monotonic()
    given, _ = worked(monkeypatch, tmp_path, job)
    context = dict(given)["context"]
    assert (context.seed, context.device, context.threads, context.scratch) == (7, "cpu", 3, tmp_path / "scratch")
    assert (ids(context.validation), ids(context.hints)) == ([3], [4])
    assert before + 59 < context.deadline <= time.monotonic() + 60
    assert context.rng.random(3).tolist() == np.random.default_rng(7).random(3).tolist()
    given, _ = worked(monkeypatch, tmp_path, replace(job, timeout_s=None, hints=None))
    assert (dict(given)["context"].deadline, dict(given)["context"].hints) == (None, None)


def test_blocks_of_scoring_hold_the_packets_of_their_flows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Job
) -> None:
    monkeypatch.setattr(worker, "SCORE_BLOCK", 3)
    given, _ = worked(monkeypatch, tmp_path, job)
    blocks = [flows for what, flows in given if what == "score"][:3]
    assert [len(block) for block in blocks] == [3, 3, 1]
    assert np.concatenate([block.lengths for block in blocks]).tolist() == LENGTHS
    for block in blocks:
        assert block.packet("size").tolist() == np.repeat(block.ids, block.lengths).tolist()
        assert block.packet("iat").tolist() == [place for length in block.lengths for place in range(length)]
    assert np.load(tmp_path / "out" / "t0" / "cal_a.npy")[:, 0].tolist() == [
        700.0 + place for place in range(len(LENGTHS))
    ]


def test_whole_captures_are_replayed_in_one_piece(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Job) -> None:
    monkeypatch.setattr(worker, "SCORE_BLOCK", 3)
    stage(tmp_path / "streams", "x", 1, stream=True)
    (block,) = worker.Batches(tmp_path / "streams" / "in").blocks("x", worker.SCORE_BLOCK)
    assert len(block) == len(block.packet_stream()) == len(LENGTHS)


def test_a_tree_that_is_not_the_parents_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Job
) -> None:
    with pytest.raises(
        JanusBenchError, match=r"the worker runs .*harness, the run was started from /elsewhere/harness: install"
    ):
        worked(monkeypatch, tmp_path, replace(job, code="/elsewhere/harness"))
    assert not (tmp_path / "out").exists()


def test_one_target_that_fails_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Job
) -> None:
    class Stumbles(Keeps):
        def calibrate(self, benign: FlowBatch) -> None:
            super().calibrate(benign)
            if sum(what == "calibrate" for what, _ in self.given) == 1:
                raise RuntimeError("the first one")

    second = replace(job.targets[0], name="t1")
    _, events = worked(monkeypatch, tmp_path, replace(job, targets=(job.targets[0], second)), Stumbles)
    assert [(type(event), event.target) for event in events[1:]] == [(Failed, "t0"), (Scored, "t1")]  # type: ignore[union-attr]


def test_a_detector_that_is_not_calibrated_scores_validation_flows_once_and_one_that_is_for_every_target(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Job
) -> None:
    for calibrate, times in ((None, 1), ("t0_calibrate", 2)):
        targets = tuple(JobTarget(name, calibrate, job.targets[0].score) for name in ("t0", "t1"))
        given, _ = worked(monkeypatch, tmp_path, replace(job, targets=targets))
        assert sum(what == "score" and ids(flows) == [5] for what, flows in given) == times
        assert np.array_equal(*(np.load(tmp_path / "out" / name / "source_val.npy") for name in ("t0", "t1")))


def test_costs_are_of_what_they_are_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Job) -> None:
    """By a clock that the detector moves: 2 s to fit, 5 s to calibrate, 1 s to score each of four batches, of which
    the source's does not count.  The processor's runs three times as fast."""
    clock = [100.0]
    monkeypatch.setattr(worker.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(worker, "cpu_seconds", lambda: 3 * clock[0])

    class Slow(Keeps):
        def fit(self, benign: FlowBatch, ctx: Any) -> None:
            clock[0] += 2

        def calibrate(self, benign: FlowBatch) -> None:
            clock[0] += 5

        def score(self, flows: FlowBatch) -> np.ndarray:
            clock[0] += 1
            return super().score(flows)

    _, (fitted, scored) = worked(monkeypatch, tmp_path, job, Slow)
    assert fitted == FitDone(2.0, 6.0)
    assert isinstance(scored, Scored)
    assert (scored.target, scored.calibrate_s, scored.score_s, scored.cpu_s) == ("t0", 5.0, 3.0, 24.0)
    assert scored.peak_vram_mb is None  # nothing here has used a GPU
    assert 10 < scored.peak_rss_mb < 10_000


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (MemoryError("Unable to allocate 8 GiB"), "oom", "out of memory: MemoryError: Unable to allocate 8 GiB"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            "oom",
            "out of memory: RuntimeError: DefaultCPUAllocator",
        ),
        (RuntimeError("CUDA out of memory. Tried"), "oom", "out of memory: RuntimeError: CUDA"),
        (InvalidScores("column 'score' holds NaN"), "invalid_output", "column 'score' holds NaN"),
        (JanusBenchError("said in one line"), "error", "said in one line"),
        (ValueError("first\nsecond"), "error", "ValueError: first"),
        (Unprintable(), "error", "Unprintable"),
    ],
)
def test_an_exception_becomes_a_status_and_a_line(error: Exception, status: str, reason: str) -> None:
    found, line = worker.classify(error)
    assert found == status
    assert line.startswith(reason)
    assert "\n" not in line


def test_messages_come_back_as_they_were_sent(job: Job) -> None:
    assert job_from(line_of(job)) == job
    events = (
        *(Progress(0.5, "epoch 1"), FitDone(1.5), ModelSaved(), Scored("t0", 0.1, 0.2, 3.0)),
        *(Failed("oom", "why", "t1"), Failed("error", "é\n"), Finished()),
    )
    for event in events:
        assert event_from(line_of(event)) == event
        assert "\n" not in line_of(event)
    for junk in (
        "",
        "{",
        "[]",
        "3",
        '"x"',
        "null",
        '{"message": "Job"}',
        '{"message": "Scored"}',
        '{"message": "Progress", "fraction": 1, "texts": ""}',
        "[" * 300_000,
        '{"message": "FitDone", "fit_s": NaN}',
        '{"message": "FitDone", "fit_s": "1"}',
        '{"message": "Progress", "fraction": Infinity, "text": ""}',
        '{"message": "Failed", "status": "banana", "reason": ""}',
        '{"message": "Failed", "status": "ok", "reason": "", "target": "t0"}',
        '{"message": "Failed", "status": "error", "reason": null}',
        '{"message": "Scored", "target": ["t0"], "calibrate_s": 1, "score_s": 1, "peak_rss_mb": 1}',
    ):
        assert event_from(junk) is None
    assert short("a\udcff b\x1b\n") == "a? b\x1b"


def test_the_detector_is_made_with_the_jobs_parameters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Job
) -> None:
    @dataclass(frozen=True)
    class Factor:
        factor: float = 2.0

    class Scales(Keeps):
        Params = Factor

        def __init__(self, params: Factor) -> None:
            self.factor = params.factor

        def score(self, flows: FlowBatch) -> np.ndarray:
            return super().score(flows) * self.factor

    worked(monkeypatch, tmp_path, replace(job, params={"factor": 3.0}), Scales)
    assert np.load(tmp_path / "out" / "t0" / "test.npy")[0, 0] == 900 * 3


def test_a_child_s_environment_has_its_threads_and_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    found = _environment(tmp_path, 3)
    for library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        assert found[f"{library}_NUM_THREADS"] == "3"
    assert found["HOME"] == found["TMPDIR"] == str(tmp_path / "scratch")
    assert not {"A_SECRET", "PYTHONPATH", "USER"} & set(found)


def test_pages_that_a_fork_shares_with_its_parent_count_once() -> None:
    script = (
        "import os, sys, time; kept = bytearray(b'x') * 10**8; [os.fork() for _ in range(2)]; print(flush=True); "
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True) as child:
        try:
            assert child.stdout is not None
            for _ in range(4):
                child.stdout.readline()
            assert (
                10**8 < _used(_family(child.pid), 10**6) < 1.8 * 10**8
            )  # four processes of 100 MB each, one and the same
        finally:
            os.killpg(child.pid, signal.SIGKILL)
