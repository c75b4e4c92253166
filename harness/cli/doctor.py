"""``janus-bench doctor``: what of this machine and installation matters, what is wrong with it, and how to mend it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import typer

from harness.cli import console
from harness.cli.options import ListFormat
from janus_bench import plugins
from janus_bench.errors import UsageError
from janus_bench.files import why
from janus_bench.words import counted

LEAST_MEMORY, LEAST_DISK = 2 << 30, 1 << 30  # Bytes; a fit of the quick profile takes up to 1 GiB.


@dataclass(frozen=True)
class HealthFinding:
    """``fix`` is empty where nothing has to be done."""

    what: str
    found: str
    fix: str = ""


def doctor(output: ListFormat = "table") -> None:
    """Look at the machine, its devices and memory, folders, versions, plugins and datasets, and say what to mend.

    Exit code: 0 nothing is wrong, 1 something is.
    """
    findings = [
        finding
        for look in (_versions, _processors, _memory, _devices, _folders, _kernels, _plugins, _datasets)
        for finding in look()
    ]
    console.table(("what", "found", "fix"), [astuple(finding) for finding in findings], output)
    wrong = sum(bool(finding.fix) for finding in findings)
    console.say(f"{wrong} to mend" if wrong else "nothing to mend")
    raise typer.Exit(1 if wrong else 0)


def _versions() -> Iterator[HealthFinding]:
    from harness.environment import PACKAGES, environment

    found = environment()
    yield HealthFinding("python", found["python"])
    for package in PACKAGES:
        if package in found:
            commit = f", commit {found['commit']}" if package == "janus-bench" and "commit" in found else ""
            yield HealthFinding(package, found[package] + commit)
        else:
            yield HealthFinding(package, "not installed", f"pip install {package}")


def _processors() -> Iterator[HealthFinding]:
    from harness.environment import environment

    found = environment()
    allowed, there = found["cores"], os.cpu_count()
    limited = f" of {there}" if str(there) != allowed else ""
    yield HealthFinding("processor", f"{allowed}{limited} cores, {found.get('processor') or 'unknown'}")


def _memory() -> Iterator[HealthFinding]:
    import psutil

    memory = psutil.virtual_memory()
    limit = _container_limit()
    free = memory.available if limit is None else min(memory.available, limit)
    bounded = f", at most {limit / 2**30:.1f} GiB for this container" if limit is not None else ""
    fix = "end other programs, or run with --jobs 1 --max-memory 1G" if free < LEAST_MEMORY else ""
    yield HealthFinding("memory", f"{free / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free{bounded}", fix)


def _container_limit() -> int | None:
    """Bytes that a control group (version 2) allows, if it sets a limit."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _devices() -> Iterator[HealthFinding]:
    if not Path("/dev/nvidiactl").exists():
        yield HealthFinding("GPU", "none: fits run on the processor")
        return
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        yield HealthFinding("GPU", "; ".join(f"{each.name}, {each.total_memory / 2**30:.0f} GiB" for each in names))
    else:
        built = f"torch {torch.__version__}, made for CUDA {torch.version.cuda}" if torch.version.cuda else "torch"
        yield HealthFinding(
            "GPU", f"there is one, and {built} cannot use it", "install a torch for its driver, or use --device cpu"
        )


def _folders() -> Iterator[HealthFinding]:
    """Where datasets and stages are written to."""
    from datasets_registry.registry import home

    places = [("stages", Path(tempfile.gettempdir()), "TMPDIR")]
    try:
        places.insert(0, ("home", home(), "JANUS_BENCH_HOME"))
    except UsageError as error:
        yield HealthFinding("home", str(error), "name another folder with JANUS_BENCH_HOME")
    for what, folder, variable in places:
        place = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
            free = shutil.disk_usage(place).free
        except OSError as error:
            yield HealthFinding(what, f"{folder}: {why(error)}", f"name another folder with {variable}")
            continue
        fix = f"make room, or name another folder with {variable}" if free < LEAST_DISK else ""
        yield HealthFinding(what, f"{folder}, {free / 2**30:.1f} GiB free", fix)


def _kernels() -> Iterator[HealthFinding]:
    """Where compiled code is kept: beside the sources, or where numba is told to keep it."""
    place = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(__file__).parents[2] / "datasets_registry")
    if os.access(place, os.W_OK):
        yield HealthFinding("kernels", f"compiled once, and kept in {place}")
    else:
        yield HealthFinding(
            "kernels",
            f"{place} cannot be written: compiled again in every process that extracts, about 15 s",
            "name a folder that can be written with NUMBA_CACHE_DIR",
        )


def _plugins() -> Iterator[HealthFinding]:
    loaded, left_out = plugins.load_detectors()
    broken = [*left_out, *plugins.broken_plugins()]
    yield HealthFinding("plugins", f"{counted(len(loaded), 'detector')}, {len(broken)} broken")
    for one in broken:
        yield HealthFinding(f"plugin {one.name}", f"{one.origin}: {one.error}", "mend, update or uninstall its package")


def _datasets() -> Iterator[HealthFinding]:
    from datasets_registry.registry import added, unreadable

    try:
        damaged = unreadable()
    except UsageError:  # the home is a file, which stands above
        return
    names = [name for name in added() if name not in damaged]
    yield HealthFinding("datasets", f"{len(names)} added{': ' if names else ''}{', '.join(names)}")
    for name, reason in damaged.items():
        yield HealthFinding(f"dataset {name}", reason, "delete its folder, and add it again")
