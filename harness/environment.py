"""What is measured of machine and processes: versions and processor, recorded with every row, and a process's peak
memory."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("janus-bench", "numpy", "torch", "scikit-learn", "scipy", "nflows")


@cache
def environment() -> dict[str, str]:
    """Python, processor, cores, package versions, and the commit where the harness runs from its repository."""
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "commit": _commit(Path(__file__).resolve().parents[1]),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {name: value for name, value in found.items() if value}


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
