"""What is measured of machine and processes: versions, code and processor, recorded with every row, and what a process
has used."""

import hashlib
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

PACKAGES = ("janus-bench", "numpy", "torch", "scikit-learn", "scipy", "nflows", "numba", "pyod")
GPUS = Path("/proc/driver/nvidia/gpus")
OWN = ("datasets_registry", "detectors", "harness", "janus_bench", "protocols", "reports")


@cache
def environment() -> dict[str, str]:
    """Python, processor, cores, GPUs, package versions, a hash of janus-bench's code, and the commit where it runs from
    its repository."""
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": str(usable_cores()),
        "gpus": ", ".join(_gpus()),
        "code": hash_of_code(*(Path(__file__).resolve().parents[1] / package for package in OWN)),
        "commit": _commit(Path(__file__).resolve().parents[1]),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {name: value for name, value in found.items() if value}


def usable_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def hash_of_code(*folders: Path) -> str:
    """16 hex digits over the Python files below some folders, by their names and contents."""
    found = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            found.update(f"{path.relative_to(folder.parent)}\n".encode(errors="surrogateescape"))
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]


@cache
def plugin_of(module: str) -> str:
    """Name, version and hash of the package that brings a module; empty for janus-bench's own, and for what no package
    brings."""
    package = module.partition(".")[0]
    where = getattr(sys.modules.get(package), "__file__", None)
    names = () if package in OWN else packages_distributions().get(package, ())
    if not names or not where:
        return ""
    code = Path(where).parent if Path(where).name == "__init__.py" else Path(where)
    digest = hash_of_code(code) if code.is_dir() else hashlib.sha256(code.read_bytes()).hexdigest()[:16]
    return f"{names[0]} {version(names[0])} ({digest})"


def is_other_code(module: str, stored: Mapping[str, str]) -> bool:
    """Whether the package that brings a detector is not, byte by byte, the one that made a run, of which this is the
    stored environment."""
    now, then = plugin_of(module), stored.get("plugin", "")
    return bool(now and then) and now != then


def cpu_seconds() -> float:
    """Seconds of the processor that this process, and those of its children that have ended, have used."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def peak_of_gpu_mb() -> float | None:
    """The most memory that torch has held on a GPU (MiB); None where it has used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return float(torch.cuda.max_memory_allocated()) / 2**20


def peak_resident(pid: int) -> int:
    """The kernel's high-water mark of a process's resident memory (VmHWM) in bytes; 0 once it is gone, or where there
    is no /proc."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def _gpus() -> list[str]:
    """Their models, as the driver has them."""
    found = []
    for path in sorted(GPUS.glob("*/information")):
        lines = path.read_text(errors="replace").splitlines()
        found += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _commit(root: Path) -> str:
    """Empty for an installed wheel; ``-dirty`` where tracked files differ from the commit."""
    if not (root / ".git").exists():
        return ""
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
