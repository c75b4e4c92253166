"""Fits as jobs of a Slurm cluster: each with its cores, memory, time and GPU; what a lost node was at is done again.

A run's stages lie in a folder that all nodes see, so a job reads its inputs from where they were staged.  In the fit's
folder ``slurm/<attempt>/`` is what submitit keeps of a job, and ``said/``, where the job puts down what it has to say
in numbered files.  An attempt whose node was given up, and that is alive all the same, writes into a folder at which
nobody looks any more.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.environment import environment
from harness.executors import Outcome
from harness.executors.carried import Carried, Lost, carried_out, done_here, inputs_of
from harness.jobs import Event, Job, Progress
from janus_bench.errors import UsageError
from janus_bench.files import why, write_atomically
from janus_bench.plugins import one_line
from janus_bench.records import Status

POLL_S = 0.25  # Between looks at what a job has said.
ASK_S = 3.0  # Between questions to Slurm, which are of all jobs at once.
SETTLE_S = 15.0  # A shared folder may show so much later what a job that has ended has said last.
BEAT_S = 10.0  # Between signs of life of the run, and between a job's looks at them.
PATIENCE_S = 120.0  # A job whose run has given no sign of life for so long ends.
AT_ONCE = 64  # Jobs in the queue at a time, unless --jobs says otherwise.
START_S = 600.0  # Beyond a fit's own limit: Python and its libraries come over the network.
SUPERVISOR = 1 << 30  # Bytes beyond a fit's own limit, for the process that watches it.

ENDED: Mapping[str, tuple[Status, str]] = {
    "CANCELLED": ("killed", "was cancelled (scancel)"),
    "TIMEOUT": ("timeout", "ran into Slurm's time limit"),
    "DEADLINE": ("timeout", "ran into its deadline in Slurm"),
    "OUT_OF_MEMORY": ("oom", "used more memory than Slurm gave it"),
}
"""State of a job that has ended → how its fit has; after those of ``AGAIN`` it is begun again."""
GONE = "GONE"  # Slurm forgets a job some minutes after its end.
AGAIN = frozenset({"COMPLETED", "FAILED", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED", GONE})


class SlurmExecutor:
    """``shared``: a folder that has the same path on this machine and on every node.  What sbatch's own variables say
    (SBATCH_PARTITION, SBATCH_ACCOUNT, …) holds for every job."""

    def __init__(self, shared: Path) -> None:
        """UsageError where submitit or Slurm is not there, or does not take jobs, or the folder cannot be written."""
        _check_submitit()
        _check_slurm()
        self.stages_in = shared.absolute() / platform.node()
        try:
            self.stages_in.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.stages_in):
                pass
        except OSError as error:
            raise UsageError(
                f"--executor slurm:{shared}: this folder cannot be written ({why(error)}): name one that every node "
                "can write as well"
            ) from None
        self._queue = _Queue()

    def fits_at_once(self, threads: int) -> int:
        """As many as there are cores for in the partition, at most ``AT_ONCE``."""
        partition = os.environ.get("SBATCH_PARTITION")
        listed = _slurm("sinfo", "--noheader", "--format=%C", *(["--partition", partition] if partition else []))
        cores = 0
        for line in listed.splitlines():  # allocated/idle/other/total; others are down
            allocated, idle, *_ = line.split("/")
            cores += int(allocated) + int(idle)
        return min(AT_ONCE, max(1, cores // threads))

    def run(self, job: Job, stop: threading.Event, on_event: Callable[[Event], None]) -> Outcome:
        """Run one job somewhere in the cluster; see ``Executor``."""
        return carried_out(job, stop, on_event, self._once)

    def _once(self, job: Job, stop: threading.Event) -> Generator[Carried | Outcome, None, None]:
        (Path(job.folder) / "slurm").mkdir(exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=Path(job.folder) / "slurm"))
        (place / "said").mkdir()
        _give_a_sign(place)
        try:
            submitted = _submit(place, job)
        except RuntimeError as error:
            yield Outcome("error", f"Slurm does not take it: {one_line(error)}", 0.0, None)
            return
        over = False
        try:
            for found in self._followed(submitted.job_id, place, stop):
                over = isinstance(found, Outcome)
                yield found
        finally:
            if not over:  # who has said how it ended is cleaning up, and is left to it
                with contextlib.suppress(UsageError):
                    _slurm("scancel", submitted.job_id)

    def _followed(self, number: str, place: Path, stop: threading.Event) -> Generator[Carried | Outcome, None, None]:
        """What a job says, until its outcome; Lost where it ends without one.

        Of a worker that was killed, Slurm may know by whom: its word is waited for.
        """
        mail, told, ended, signed, killed = 0, "", None, time.monotonic(), None
        while not stop.is_set():
            if time.monotonic() - signed > BEAT_S:
                signed = _give_a_sign(place)
            found = None if killed else _said(place, mail)
            if isinstance(found, Outcome) and found.status == "killed":
                killed = found
            elif found is not None:
                mail += 1
                yield found
                if isinstance(found, Outcome):
                    return
                continue
            state = self._queue.state(number)
            if state != told:
                told = state
                yield Carried(Progress(0.0, f"Slurm's job {number} is {state.lower()}"), {})
            if state in ENDED or state in AGAIN:
                ended = ended or time.monotonic()
                os.utime(place / "said")  # so that a network file system looks again for what it has not seen yet
                if killed or state in ENDED or time.monotonic() - ended > SETTLE_S:
                    yield _outcome(number, state, killed, place)
                    return
            stop.wait(POLL_S)


class _Queue:
    """What Slurm says of this user's jobs, asked once for all fits that wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}
        self._asked = -math.inf

    def state(self, number: str) -> str:
        """As it was a moment ago.  Where Slurm does not answer, a job is taken to be where it was; one that is not
        listed yet is pending."""
        with self._lock:
            if time.monotonic() - self._asked > ASK_S:
                self._asked = time.monotonic()
                with contextlib.suppress(UsageError):
                    answer = _slurm("squeue", "--me", "--noheader", "--states=all", "--format=%i %T")
                    found = dict(line.split(None, 1) for line in answer.splitlines() if line.strip())
                    self._states = {**dict.fromkeys(self._states, GONE), **found}
            return self._states.setdefault(number, "PENDING")


def _submit(place: Path, job: Job) -> Any:
    """A job of submitit's.  RuntimeError where Slurm does not take it.

    Slurm never puts it into the queue again by itself: a second try has a folder of its own.
    """
    import submitit

    slurm = submitit.SlurmExecutor(place, python=f"{shlex.quote(sys.executable)} -P")
    slurm.update_parameters(
        job_name="janus-bench",
        cpus_per_task=job.threads,
        time=None if job.timeout_s is None else math.ceil((job.timeout_s + START_S) / 60),
        mem=None if job.max_memory is None else f"{math.ceil((job.max_memory + SUPERVISOR) / 2**20)}M",
        gpus_per_node=1 if job.device.startswith("cuda") else None,
        wckey=None,
        use_srun=False,
        additional_parameters={"no-requeue": True},
    )
    return slurm.submit(_task, place, job, environment())


def _task(place: Path, job: Job, asked_by: Mapping[str, str]) -> None:
    """In a job, on its node.  submitit's own answers to signals are undone: it would put the job into the queue again,
    and stay when it is cancelled."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_the_run, args=(place / "alive",), daemon=True).start()
    inputs = {
        name: np.memmap(path, np.uint8, "r") if path.stat().st_size else b"" for name, path in inputs_of(job).items()
    }
    with contextlib.closing(done_here(job, inputs, asked_by)) as coming:
        for number, found in enumerate(coming):
            write_atomically(place / "said" / str(number), pickle.dumps(found))
    os._exit(0)  # submitit would write a result into a folder that the run, which has the outcome, removes by now


def _leave(number: int, _: object) -> None:
    """Ends the child and removes its stage, which a default SIGTERM would not."""
    sys.exit(128 + number)


def _give_a_sign(place: Path) -> float:
    (place / "alive").touch()
    return time.monotonic()


def _end_with_the_run(alive: Path) -> None:
    """End this job where its run gives no sign of life any more: it was killed, or its machine is gone."""
    seen, since = None, time.monotonic()
    while time.monotonic() - since < PATIENCE_S:
        time.sleep(BEAT_S)
        try:
            now = alive.stat().st_mtime_ns
        except FileNotFoundError:
            break
        except OSError:  # a shared folder that cannot be reached for a moment
            continue
        if now != seen:
            seen, since = now, time.monotonic()
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)


def _said(place: Path, number: int) -> Carried | Outcome | None:
    """What a job has said as its ``number``-th, if it has."""
    try:
        found: Carried | Outcome = pickle.loads((place / "said" / str(number)).read_bytes())
    except FileNotFoundError:
        return None
    return found


def _outcome(number: str, state: str, killed: Outcome | None, place: Path) -> Outcome:
    """How a fit has ended whose job has ended in ``state``.  Lost where it is to be begun again."""
    if state in ENDED:
        status, what = ENDED[state]
        return Outcome(status, f"Slurm's job {number} {what}", 0.0, None, b"" if killed is None else killed.log)
    if killed is not None and state in ("COMPLETED", "FAILED", GONE):
        return killed
    last = ""
    for path in place.glob("*_log.err"):
        last = next(iter(reversed(path.read_text(errors="replace").strip().splitlines())), "")
    raise Lost(f"Slurm's job {number} ended without a word ({state}){f': {last}' if last else ''}")


def _slurm(*command: str) -> str:
    """What one of Slurm's commands prints.  UsageError where it fails or does not answer."""
    try:
        # in a session of its own: an interrupt from the keyboard is this process's alone
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, start_new_session=True)
    except subprocess.CalledProcessError as error:
        raise UsageError(f"--executor slurm: {error.stderr.strip().partition(chr(10))[0]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"--executor slurm: {command[0]}: {one_line(error)}") from None
    return done.stdout


def _check_submitit() -> None:
    os.environ.setdefault("SUBMITIT_LOG_LEVEL", "ERROR")  # Its lines would stand between those of the progress.
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise UsageError("--executor slurm needs submitit: pip install 'janus-bench[slurm]'") from None


def _check_slurm() -> None:
    """That there is a Slurm, and that it would take a job as sbatch's variables describe it."""
    if lacking := [name for name in ("sbatch", "srun", "squeue", "scancel", "sinfo") if not shutil.which(name)]:
        raise UsageError(
            f"--executor slurm: no {lacking[0]} on this machine: call `run` where jobs are submitted to Slurm"
        )
    _slurm("sbatch", "--test-only", "--wrap", "true")
