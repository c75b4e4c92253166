"""A fit that is forked from a server finds what one finds that is a process by itself, and ends as that one does."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from harness.executors import Outcome, warm
from harness.executors.local import LocalExecutor
from harness.jobs import HEAVY, Event, Job, JobTarget, Progress, own_code

ROLES = ("source_val", "cal_a", "cal_b", "test")
THREADS = 2
BEGINS = """
import json, os, signal, sys, tempfile, time
from pathlib import Path
import numpy as np
from janus_bench import Capabilities

class Given:
    capabilities = Capabilities(inputs=frozenset(), learns=False)

    def score(self, flows):
        return self.values[: len(flows)]

    def fit(self, benign, ctx):
        self.values = np.zeros(1000)
        ctx.progress(0.5, "at work")
"""
LOOKS = """
        started_with = dict(each.split("=", 1) for each in Path("/proc/self/environ").read_text().split("\\0") if each)
        status = Path("/proc/self/status").read_text().splitlines()
        print(json.dumps({
            "environment": dict(os.environ),
            "home": started_with["HOME"],
            "folders": [os.getcwd(), tempfile.gettempdir()],
            "open": sorted(int(each) for each in os.listdir("/proc/self/fd") if Path(f"/proc/self/fd/{each}").exists()),
            "read": sys.stdin.read(),
            "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
            "signals": [line for line in status if line.startswith(("SigBlk", "SigIgn", "SigCgt"))],
            "parent": os.getppid(),
            "modules": sorted({"torch", "scipy", "sklearn", "polars"} & set(sys.modules)),
            "dice": [np.random.random(), __import__("random").random()],
        }))
"""
COMPUTES = """
        import torch
        drawn = torch.initial_seed()
        torch.manual_seed(1)
        rng = np.random.default_rng(1)
        one = rng.standard_normal((400, 400))
        layer = torch.nn.Linear(400, 400)
        two = layer(torch.randn(400, 400)).detach().numpy().astype(float)
        self.values = np.linalg.svd(one @ two, compute_uv=False)
        print(json.dumps([torch.get_num_threads(), drawn]))
"""
LEAVES_A_FORK = """
        if not os.fork():
            os.setsid()
            if os.fork():
                os._exit(0)
            (ctx.scratch.parent.parent / "left").write_text(str(os.getpid()))
            time.sleep(600)
        os.wait()
        while not (ctx.scratch.parent.parent / "left").exists():
            time.sleep(0.01)
"""
SLEEPS = "        time.sleep(600)\n"
ENDS = "        os._exit(7)\n"


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """A job of seven flows for a detector whose fit does something, in a stage of its own."""

    def made(does: str, stage: str = "stage", **changed: Any) -> Job:
        folder = tmp_path / stage
        for name in ("work", "scratch", "out"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name in ("train0", "validate", *ROLES):
            (folder / "in" / name / "ids").mkdir(parents=True, exist_ok=True)
            np.save(folder / "in" / name / "ids" / "ids.npy", np.arange(7, dtype=np.uint64))
        file = tmp_path / f"given_{abs(hash(does))}.py"
        file.write_text(BEGINS + does)
        target = JobTarget("t0", None, {role: role for role in ROLES})
        return replace(
            Job(
                str(folder), own_code(), str(file), {}, 1, "cpu", THREADS, 120.0, None, ("train0",), "validate", None,
                (target,),
            ),
            **changed,
        )  # fmt: skip

    return made


@pytest.fixture
def warmed() -> Iterator[LocalExecutor]:
    with LocalExecutor() as executor:
        yield executor
    assert servers() == []


def servers() -> list[psutil.Process]:
    """Those of this process, the dead among them left out."""
    return [
        process
        for process in psutil.Process().children()
        if process.status() != psutil.STATUS_ZOMBIE and "harness.executors.server" in process.cmdline()
    ]


def done(executor: LocalExecutor, job: Job, on_event: Callable[[Event], None] = lambda _: None) -> Outcome:
    return executor.run(job, threading.Event(), on_event)


def told(outcome: Outcome) -> Any:
    assert outcome.status == "ok", outcome
    return json.loads(outcome.log)


def test_a_fork_finds_what_a_process_by_itself_finds(job, warmed):
    alone, first = (told(done(one, job(LOOKS))) for one in (LocalExecutor(), warmed))
    (server,) = servers()
    begun, stop = threading.Event(), threading.Event()
    beside = threading.Thread(target=warmed.run, args=(job(SLEEPS, "beside"), stop, lambda _: begun.set()))
    beside.start()
    assert begun.wait(60)
    second = told(done(warmed, job(LOOKS)))  # while another fit of the same server lives
    stop.set()
    beside.join()
    assert alone["parent"] == os.getpid()
    assert [first.pop("parent"), second.pop("parent")] == [server.pid, server.pid]
    assert alone["home"] == alone["environment"]["HOME"] == job(LOOKS).folder + "/scratch"
    dice = [each.pop("dice") for each in (alone, first, second)]
    assert len({number for thrown in dice for number in thrown}) == 6
    del alone["parent"]
    assert first == second == alone
    assert told(done(warmed, job(LOOKS, device="cuda")))["parent"] == os.getpid()  # no fork may touch a GPU


def expects(executor: LocalExecutor, job: Job, *modules: str) -> None:
    """As if a fit had been seen to import them."""
    assert executor._warm is not None
    executor._warm._imported[job.detector] = modules


def test_the_bits_are_those_of_a_process_by_itself(job, warmed):
    found, seeds, asked = set(), set(), job(COMPUTES)
    expects(warmed, asked, "torch")
    for executor in (LocalExecutor(), warmed, warmed):
        threads, seed = told(done(executor, asked))
        assert threads == THREADS
        seeds.add(seed)
        found.add((Path(asked.folder) / "out" / "t0" / "test.npy").read_bytes())
    assert len(found) == 1
    assert len(seeds) == 3  # of a generator that nobody has seeded
    assert np.count_nonzero(np.load(Path(asked.folder) / "out" / "t0" / "test.npy")) == 7


def test_what_a_detector_imports_is_imported_once_and_is_nobody_else_s(job, warmed):
    one, other = job("        import scipy.spatial\n" + LOOKS), job(LOOKS)
    first, second, third = (told(done(warmed, each)) for each in (one, one, other))
    bare, with_scipy = servers()  # the first told what the second would import
    assert "scipy.spatial" in with_scipy.cmdline()
    assert [each["parent"] for each in (first, second, third)] == [bare.pid, with_scipy.pid, bare.pid]
    assert [each["modules"] for each in (first, second, third)] == [["scipy"], ["scipy"], []]


def test_a_fork_ends_as_a_process_by_itself_does(job, warmed, tmp_path):
    assert done(warmed, job(LEAVES_A_FORK)).status == "ok"
    left = int((tmp_path / "left").read_text())
    if psutil.pid_exists(left):
        psutil.Process(left).wait(60)  # it would sleep for ten minutes
    outcome = done(warmed, job(ENDS))
    assert (outcome.status, outcome.reason) == ("error", "the worker exited with code 7: no message")
    outcome = done(warmed, job(SLEEPS, timeout_s=1.0))
    assert (outcome.status, outcome.reason) == ("timeout", "still running after 1 s (--timeout)")
    (server,) = servers()
    until = time.monotonic() + 60  # the server hears of the end by a signal, at about the time that this process does
    while server.children() and time.monotonic() < until:
        time.sleep(0.01)
    assert server.children() == []

    def killed(event: Event, whom: Callable[[], psutil.Process]) -> None:
        if isinstance(event, Progress):
            whom().send_signal(signal.SIGTERM)

    outcome = done(warmed, job(SLEEPS), lambda event: killed(event, lambda: server.children()[0]))
    assert (outcome.status, outcome.reason) == ("killed", "the worker died of signal 15 (Terminated)")
    assert servers() == [server]
    outcome = done(warmed, job(SLEEPS), lambda event: killed(event, lambda: server))
    assert outcome.status == "killed"
    assert servers() == []
    assert told(done(warmed, job(LOOKS)))["parent"] == os.getpid()  # there is none to be forked from


def test_whoever_leaves_a_fit_that_is_a_process_by_itself_is_ended_with_it(job, tmp_path):
    assert done(LocalExecutor(), job(LEAVES_A_FORK)).status == "ok"
    left = int((tmp_path / "left").read_text())
    if psutil.pid_exists(left):
        psutil.Process(left).wait(60)


def test_a_fit_that_is_a_process_by_itself_dies_with_its_parent(job, tmp_path):
    script = (
        "import pickle, sys, time\nfrom harness.executors.local import start\nfrom harness.jobs import line_of\n"
        "job = pickle.load(open(sys.argv[1], 'rb'))\nchild = start(job)\n"
        "child.stdin.write(line_of(job).encode())\nchild.stdin.close()\n"
        "child.stdout.readline()\nprint(child.pid, flush=True)\ntime.sleep(600)"
    )
    (tmp_path / "job").write_bytes(pickle.dumps(job(SLEEPS)))
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "job"], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    until = time.monotonic() + 60
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
        time.sleep(0.01)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_where_imports_start_threads_every_fit_is_a_process_by_itself(job):
    pytest.importorskip("polars")
    with LocalExecutor() as executor:
        asked = job(LOOKS)
        expects(executor, asked, "polars")
        looked = told(done(executor, asked))
    assert looked["parent"] == os.getpid()
    assert looked["modules"] == []


def test_what_is_imported_for_all_fits_leaves_nothing_outside_the_process(tmp_path):
    script = (
        "import importlib, os, sys\nbefore = dict(os.environ)\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(*(name for name in os.environ if os.environ[name] != before.get(name) and name[:4] != 'KMP_'))"
    )
    command = [sys.executable, "-P", "-c", script, *HEAVY]
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (0, "\n", [])


def test_an_interrupt_does_not_wait_for_a_server(job):
    stop = threading.Event()
    stop.set()
    with LocalExecutor() as executor:
        started = time.monotonic()
        assert executor.run(job(SLEEPS), stop, lambda _: None).status == "interrupted"
    assert time.monotonic() - started < 30


def test_no_more_servers_wait_than_are_kept(job, warmed, monkeypatch):
    monkeypatch.setattr(warm, "KEPT", 1)
    parents = [told(done(warmed, job(LOOKS, threads=threads)))["parent"] for threads in (1, 2)]
    (server,) = (one for one in servers() if one.pid != parents[0] or one.wait(30) is None)
    assert server.pid == parents[1]
