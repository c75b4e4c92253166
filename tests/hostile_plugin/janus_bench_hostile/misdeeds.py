"""A detector that does one misdeed in one of its methods, and what may become of its row then: ``h-misdeed[hook=fit,
deed=abort]``.

A deed is done before the honest work of the method.  ``expected``: statuses that are right; in ``save`` an exception
costs nothing, so there it is ok as well.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from janus_bench import Capabilities, FitContext, FlowBatch, InvalidScores

from .failing import _Honest
from .returns import RETURNS

HOOKS = ("init", "fit", "calibrate", "score", "save")


@dataclass(frozen=True)
class Deed:
    """``do(stage, progress)``, where ``stage`` is the folder of the fit; see ``KINDS``."""

    do: Callable[[Path, Callable[[Any, Any], None]], Any]
    expected: frozenset[str]
    kind: str


DEEDS: dict[str, Deed] = {}
KINDS = ("raises", "ends", "clings", "sleeps", "hogs")
"""An exception; the end of the process; what is left or spoilt in it; longer than --timeout; more than --max-memory."""


def deed(kind: str, *expected: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__.strip("_").replace("_", "-")
        DEEDS[name] = Deed(function, frozenset(expected), kind)
        return function

    return register


def raising(name: str, make: Callable[[], BaseException], *expected: str, kind: str = "raises") -> None:
    def do(*_: Any) -> None:
        raise make()

    DEEDS[name] = Deed(do, frozenset(expected), kind)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("and it cannot be printed either")

    __repr__ = __str__


class Unheard(BaseException):
    """No Exception."""


raising("value-error", lambda: ValueError("first line\nsecond line"), "error")
raising("silent-error", lambda: ValueError(), "error")
raising("memory-error", lambda: MemoryError("no more"), "oom")
raising("os-error", lambda: OSError(28, "No space left on device", "/nowhere"), "error")
raising("half-a-surrogate", lambda: ValueError("\udcff \x1b[31m \x00 \u202e"), "error")
raising("unprintable", Unprintable, "error")
raising("endless", lambda: ValueError("z" * 3_000_000), "error")
raising("group", lambda: ExceptionGroup("many", [ValueError("a"), TypeError("b")]), "error")
raising("stop-iteration", lambda: StopIteration("x"), "error")
raising("invalid-scores", lambda: InvalidScores("of\nmany\nlines"), "invalid_output")
raising("broken-pipe", lambda: BrokenPipeError("x"), "error")
raising("unicode", lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), "error")
raising("keyboard-interrupt", KeyboardInterrupt, "killed", "error", kind="ends")
raising("system-exit-0", lambda: SystemExit(0), "error", kind="ends")
raising("system-exit-text", lambda: SystemExit("text\n" * 1000), "error", kind="ends")
raising("generator-exit", GeneratorExit, "error", kind="ends")
raising("unheard", lambda: Unheard("x"), "error", kind="ends")


@deed("raises", "error")
def recursion(*_: Any) -> Any:
    return recursion()


for number in ("KILL", "TERM", "SEGV", "BUS", "HUP", "QUIT", "XCPU", "USR1", "ALRM", "INT"):

    def _signals(*_: Any, number: int = signal.Signals[f"SIG{number}"]) -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    DEEDS[f"signal-{number.lower()}"] = Deed(_signals, frozenset({"killed", "error"}), "ends")


@deed("ends", "killed")
def real_time_signal(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGRTMIN + 3)
    time.sleep(60)


@deed("ends", "killed")
def abort(*_: Any) -> None:
    os.abort()


@deed("ends", "killed")
def null_pointer(*_: Any) -> None:
    ctypes.string_at(0)


@deed("ends", "killed")
def kill_the_session(*_: Any) -> None:
    os.killpg(0, signal.SIGKILL)


@deed("ends", "error")
def exit_0(*_: Any) -> None:
    os._exit(0)


@deed("ends", "error")
def exit_7(*_: Any) -> None:
    os._exit(7)


@deed("ends", "error")
def close_all(*_: Any) -> None:
    os.closerange(0, 256)


@deed("ends", "error", "ok")
def close_the_events(*_: Any) -> None:
    os.closerange(3, 256)


@deed("clings", "ok")
def close_standard_input(*_: Any) -> None:
    os.close(0)


@deed("clings", "ok", "error")
def no_more_files(*_: Any) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))


@deed("ends", "error")
def no_large_files(*_: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))


@deed("ends", "error", "ok", "invalid_output")
def delete_the_stage(stage: Path, *_: Any) -> None:
    shutil.rmtree(stage, ignore_errors=True)


@deed("clings", "ok")
def delete_the_working_folder(*_: Any) -> None:
    Path.cwd().rmdir()


@deed("clings", "ok")
def change_folder(*_: Any) -> None:
    os.chdir("/")


@deed("clings", "ok")
def clear_the_environment(*_: Any) -> None:
    os.environ.clear()


@deed("clings", "ok", "error", "invalid_output")
def umask(*_: Any) -> None:
    os.umask(0o777)


@deed("clings", "ok")
def thread(*_: Any) -> None:
    threading.Thread(target=time.sleep, args=(600,)).start()


@deed("clings", "ok")
def thread_that_fails(*_: Any) -> None:
    threading.Thread(target=lambda: 1 // 0).start()


@deed("clings", "ok")
def grandchild(*_: Any) -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)


@deed("clings", "ok")
def grandchild_of_a_shell(*_: Any) -> None:
    subprocess.run(["sh", "-c", "setsid sh -c 'sleep 600 & sleep 600' >/dev/null 2>&1 &"], check=False)


@deed("clings", "ok")
def fork_that_stays(*_: Any) -> None:
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)


@deed("clings", "ok")
def forty_forks(*_: Any) -> None:
    for _number in range(40):
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)


@deed("clings", "ok", "error", "invalid_output")
def fork_that_goes_on(*_: Any) -> None:
    """Two processes do the rest of the work, and both tell of it."""
    os.fork()


@deed("clings", "ok")
def deaf_to_signals(*_: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@deed("clings", "ok")
def exit_that_hangs(*_: Any) -> None:
    atexit.register(time.sleep, 600)


@deed("clings", "ok")
def exit_that_fails(*_: Any) -> None:
    atexit.register(lambda: os._exit(9))


@deed("clings", "ok")
def prints_much(*_: Any) -> None:
    text = b"x" * (1 << 20)
    for _number in range(300):
        os.write(2, text)


@deed("clings", "ok")
def prints_no_text(*_: Any) -> None:
    os.write(2, bytes(range(256)) * 100)
    print("\udcff", "x" * 5_000_000, end="")


@deed("clings", "ok")
def no_standard_streams(*_: Any) -> None:
    sys.stdout = sys.stderr = None  # type: ignore[assignment]


@deed("clings", "ok")
def progress_of_no_number(_stage: Path, progress: Callable[[Any, Any], None]) -> None:
    for fraction in (np.nan, np.inf, -5, 1e308):
        progress(fraction, "\udcff\x1b[2J\n[bold]" + "y" * 2_000_000)


@deed("clings", "ok")
def progress_without_end(_stage: Path, progress: Callable[[Any, Any], None]) -> None:
    for number in range(50_000):
        progress(number / 50_000, "z" * 30)


JUNK = (
    b'{"message": "Scored"}\n\xff\xfe[]\nnull\n',
    b"[" * 300_000 + b"\n",
    b'{"a":' * 100_000 + b"\n",
    b"x" * 3_000_000 + b"\n",
    b"\n" * 100_000,
    b'{"message": "FitDone", "fit_s": NaN}\n{"message": "FitDone", "fit_s": "x"}\n',
    b'{"message": "FitDone", "fit_s": -Infinity}\n{"message": "FitDone", "fit_s": [1]}\n',
    b'{"message": "Progress", "fraction": "x", "text": 5}\n{"message": "Progress", "fraction": NaN, "text": ""}\n',
    b'{"message": "Failed", "status": "banana", "reason": "", "target": "t0"}\n',
    b'{"message": "Failed", "status": "error", "reason": null, "target": "t0"}\n',
    b'{"message": "Failed", "status": "ok", "reason": "", "target": "t0"}\n',
    b'{"message": "Scored", "target": "t0", "calibrate_s": "x", "score_s": null, "peak_rss_mb": {}}\n',
    b'{"message": "Scored", "target": ["t0"], "calibrate_s": 1, "score_s": 1, "peak_rss_mb": 1}\n',
    b'{"message": "Scored", "target": "t99", "calibrate_s": 1, "score_s": 1, "peak_rss_mb": 1}\n',
    b'{"message": "ModelSaved", "more": 1}\n{"message": "Job"}\n{"message": ["Job"]}\n{"message": {}}\n',
)
for number, junk in enumerate(JUNK):

    def _writes(*_: Any, junk: bytes = junk) -> None:
        for descriptor in range(3, 20):
            try:
                if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("pipe:"):
                    rest = junk
                    while rest:
                        rest = rest[os.write(descriptor, rest) :]
            except OSError:
                continue

    DEEDS[f"junk-{number}"] = Deed(_writes, frozenset({"ok"}), "clings")


@deed("clings", "ok")
def event_of_a_model_that_is_not_there(*_: Any) -> None:
    _writes(junk=b'{"message": "ModelSaved"}\n')
    time.sleep(0.3)


@deed("clings", "ok", "invalid_output")
def event_of_scores_that_are_not_there(*_: Any) -> None:
    _writes(junk=b'{"message": "Scored", "target": "t0", "calibrate_s": 1, "score_s": 1, "peak_rss_mb": 1}\n')
    time.sleep(0.3)


@deed("clings", "ok", "error")
def event_of_an_end_that_is_none(*_: Any) -> None:
    _writes(junk=b'{"message": "Finished"}\n')


@deed("clings", "ok")
def fifo_for_the_log(stage: Path, *_: Any) -> None:
    os.mkfifo(stage / "log")


@deed("clings", "ok")
def link_for_the_log(stage: Path, *_: Any) -> None:
    (stage / "log").symlink_to(stage.parents[2] / "victim")


@deed("clings", "ok")
def folder_for_the_log(stage: Path, *_: Any) -> None:
    (stage / "log").mkdir()


@deed("clings", "ok")
def much_in_scratch(stage: Path, *_: Any) -> None:
    for number in range(500):
        (stage / "scratch" / f"{number}\udcff\n").touch()
    locked = stage / "scratch" / "locked"
    locked.mkdir()
    (locked / "file").touch()
    locked.chmod(0)


@deed("clings", "ok")
def deep_in_scratch(stage: Path, *_: Any) -> None:
    here = Path.cwd()
    os.chdir(stage / "scratch")
    for _number in range(1500):
        Path("d").mkdir()
        os.chdir("d")
    os.chdir(here)


@deed("clings", "error")
def file_for_the_scores(stage: Path, *_: Any) -> None:
    """In the place of the folder of the target's scores."""
    place = stage / "out" / "t0"
    shutil.rmtree(place, ignore_errors=True)
    place.touch()


@deed("clings", "error", "invalid_output", "ok")
def fifo_for_the_scores(stage: Path, *_: Any) -> None:
    place = stage / "out" / "t0"
    place.mkdir(exist_ok=True)
    if not (place / "test.npy").exists():
        os.mkfifo(place / "test.npy")
        os.open(place / "test.npy", os.O_RDWR)  # so that whoever writes to it goes on


@deed("sleeps", "timeout")
def sleep(*_: Any) -> None:
    time.sleep(600)


@deed("sleeps", "timeout")
def stop(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@deed("sleeps", "timeout")
def spin(*_: Any) -> None:
    while True:
        pass


@deed("sleeps", "timeout")
def deadlock(*_: Any) -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@deed("sleeps", "timeout")
def print_for_ever(*_: Any) -> None:
    while True:
        os.write(2, b"x" * (1 << 16))


@deed("sleeps", "timeout")
def progress_for_ever(_stage: Path, progress: Callable[[Any, Any], None]) -> None:
    while True:
        progress(0.5, "still")
        time.sleep(0.0005)


@deed("hogs", "oom")
def arrays(*_: Any) -> None:
    kept = []
    for _number in range(600):
        kept.append(np.ones(2**21))
        time.sleep(0.01)


@deed("hogs", "oom")
def one_array(*_: Any) -> None:
    np.ones(10**12)


@deed("hogs", "oom")
def in_a_fork(*_: Any) -> None:
    if os.fork() == 0:
        os.setsid()
        arrays()
        time.sleep(600)
        os._exit(0)
    time.sleep(600)


class Misdeed(_Honest):
    """Scores well but for one thing."""

    capabilities = Capabilities(inputs=frozenset({"features"}), calibrates=True)

    @dataclass(frozen=True)
    class Params:
        hook: str = "none"
        deed: str = "none"

    @classmethod
    def declare(cls, params: Misdeed.Params) -> Any:
        return declared(params.deed) if params.hook == "declare" else cls.capabilities

    def __init__(self, params: Params) -> None:
        self._params = params
        self._done = False
        self._progress: Callable[[Any, Any], None] = lambda *_: None
        self._do("init")

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        self._progress = ctx.progress
        self._do("fit")
        super().fit(benign, ctx)

    def calibrate(self, benign: FlowBatch) -> None:
        self._do("calibrate")

    def score(self, flows: FlowBatch) -> Any:
        self._do("score")
        scores = super().score(flows)
        return RETURNS[self._params.deed][0](scores) if self._params.hook == "return" else scores

    def save(self, folder: Path) -> None:
        (folder / "weights").write_bytes(b"1234")
        if self._params.hook == "model":
            MODELS[self._params.deed](folder)
        self._do("save")

    def _do(self, hook: str) -> None:
        if self._params.hook == hook and not self._done:
            self._done = True
            # its temporary folder is the scratch folder of its stage
            DEEDS[self._params.deed].do(Path(os.environ.get("TMPDIR", "/nowhere/x")).parent, self._progress)


def _instead(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        shutil.rmtree(folder)
        make(folder)

    return do


def _outside(folder: Path) -> Path:
    place = folder.parents[1] / "scratch" / "outside"
    place.mkdir(exist_ok=True)
    (place / "secret").write_text("secret")
    return place


def _deep(folder: Path) -> None:
    """Down to where a path becomes too long: no longer one would fit."""
    for length in (200, 20, 1):
        try:
            while True:
                (folder / ("d" * length)).mkdir()
                folder = folder / ("d" * length)
        except OSError:
            continue


def _socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)
    socket.socket(socket.AF_UNIX).bind("x")
    os.chdir(here)


MODELS: dict[str, Callable[[Path], Any]] = {
    "dangling-link": lambda folder: (folder / "x").symlink_to("/nowhere/at/all"),
    "link-to-a-file": lambda folder: (folder / "x").symlink_to("/etc/passwd"),
    "link-to-a-folder": lambda folder: (folder / "x").symlink_to(_outside(folder)),
    "link-to-itself": lambda folder: (folder / "x").symlink_to(folder / "x"),
    "fifo": lambda folder: os.mkfifo(folder / "x"),
    "socket": _socket,
    "many-files": lambda folder: [(folder / f"{number}").touch() for number in range(2000)],
    "odd-names": lambda folder: [(folder / name).touch() for name in ("\udcff", "a\nb", "\x1b[2J", "-rf", "é" * 100)],
    "deep": _deep,
    "no-folder": _instead(lambda folder: None),
    "file-for-a-folder": _instead(lambda folder: folder.touch()),
    "link-for-a-folder": _instead(lambda folder: folder.symlink_to(_outside(folder))),
    "dangling-for-a-folder": _instead(lambda folder: folder.symlink_to("/nowhere/at/all")),
    "fifo-for-a-folder": _instead(lambda folder: os.mkfifo(folder)),
    "folder-for-detector-json": lambda folder: (folder / "detector.json").mkdir(),
    "nothing-may-be-read": lambda folder: [path.chmod(0) for path in (folder / "weights", folder)],
}
"""What ``save`` leaves; the row is ok whatever it is."""

COLUMNS: dict[str, Any] = {
    "role": ("role",),
    "flow-id": ("flow_id",),
    "target": ("score", "target"),
    "none": (),
    "twice": ("a", "a"),
}


def declared(name: str) -> Any:
    """What ``declare`` returns, where it returns: nothing that a run may begin with."""
    if name == "raises":
        raise ValueError("no\ndeclaration")
    if name == "nothing":
        return None
    if name == "input":
        return Capabilities(inputs=frozenset({"labels"}))
    return Capabilities(inputs=frozenset({"features"}), scores=COLUMNS[name], aggregator="oas")


DECLARED = ("raises", "nothing", "input", *COLUMNS)
