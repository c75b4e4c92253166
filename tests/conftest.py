"""Fixtures that many tests share: small datasets, a clean home, and an environment with the test plugins installed by
pip."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

# no test is timed: a slow machine is no bug
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

needs_shared_data = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="the shared real captures are not on this machine"
)


def insisted(report: Any) -> Any:
    """A skip whose reason names a tool of ``JANUS_BENCH_PROVIDED`` is a failure: whoever runs the tests has put that
    tool there for them."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if tools := [tool for tool in os.environ.get("JANUS_BENCH_PROVIDED", "").split() if tool in reason.lower()]:
            report.outcome, report.longrepr = (
                "failed",
                f"JANUS_BENCH_PROVIDED names {', '.join(tools)}, and yet: {reason}",
            )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return insisted((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return insisted((yield))


CAPTURES = ROOT / "examples" / "plugin" / "janus_bench_example" / "captures.py"


def write_example_captures(folder: Path) -> Path:
    """The example plugin's SYNTHETIC network: 12 captures, 720 benign flows, 120 attack flows."""
    spec = importlib.util.spec_from_file_location("example_captures", CAPTURES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder.mkdir(parents=True, exist_ok=True)
    module.write(folder)
    return folder


def shared_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder made once for all test processes."""
    folder = tmp_path_factory.getbasetemp().parent / f"{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}-{name}"
    with FileLock(f"{folder}.lock"):
        if not (folder / ".complete").exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder)
            (folder / ".complete").touch()
    return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two small datasets, alpha and beta (the example network twice)."""

    def make(folder: Path) -> None:
        from datasets_registry.ingest import ingest_folder

        captures = write_example_captures(folder / "captures")
        for name in ("alpha", "beta"):
            ingest_folder(captures, folder / "datasets" / name, name=name, stream=True)

    return shared_once(tmp_path_factory, "home", make)


def install(folder: Path, *packages: Path) -> None:
    """``folder/venv``: an environment of its own that sees this one's packages, with these installed by pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    Path(purelib, "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for package in packages:
        source = folder / "sources" / package.name
        source.parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", package, source], check=True)  # pip builds inside the source folder
        command = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "-q",
            "--no-deps",
            "--no-build-isolation",
        ]
        subprocess.run([*command, source], check=True, capture_output=True)


@pytest.fixture(scope="session")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Name of a network of the shared captures → its store, extracted once for all tests."""

    def get(name: str) -> Any:
        from datasets_registry.ingest import ingest_folder
        from datasets_registry.store import FlowStore

        def make(folder: Path) -> None:
            ingest_folder(SHARED_DATA / "domains" / name, folder / "store", name=name)

        return FlowStore.open(shared_once(tmp_path_factory, f"real-{name}", make) / "store")

    return get


@pytest.fixture(scope="session")
def plugin_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment of its own that sees this one's packages, with both test plugins installed by
    pip."""

    packages = (ROOT / "examples" / "plugin", ROOT / "tests" / "hostile_plugin")
    return (
        shared_once(tmp_path_factory, "plugins", lambda folder: install(folder, *packages)) / "venv" / "bin" / "python"
    )


class Cli:
    """Runs ``janus-bench`` as a real process."""

    def __init__(self, python: Path | str, home: Path, folder: Path) -> None:
        self.command = [str(python), "-c", "from harness.cli.main import main; main()"]
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JANUS_BENCH_")}
        self.environment = {**kept, "JANUS_BENCH_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "160"}

    def __call__(
        self, *arguments: str | Path, timeout: float = 240, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *map(str, arguments)],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def cli(home: Path, tmp_path: Path) -> Cli:
    """``janus-bench`` with the built-in plugins."""
    return Cli(sys.executable, home, tmp_path)


@pytest.fixture
def plugin_cli(plugin_python: Path, home: Path, tmp_path: Path) -> Cli:
    """``janus-bench`` with the test plugins installed."""
    return Cli(plugin_python, home, tmp_path)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: more threads than one only wait for each other."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):  # numpy's matrix products have threads of their own
        yield
    torch.set_num_threads(before)
