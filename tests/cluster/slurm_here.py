"""A Slurm of two nodes on this machine: one controller, two daemons on ports of their own, and their munge.

It needs root, and Debian's packages slurmctld, slurmd, slurm-client and munge, none of which has to be started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.cluster.same_cells import until

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
CONFIGURATION = """\
ClusterName=here
SlurmctldHost=localhost
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin={tasks}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SwitchType=switch/none
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=1
KillWait=5
DefMemPerNode=1500
NodeName=n1 NodeHostname=localhost Port={first} CPUs=1 RealMemory=6000
NodeName=n2 NodeHostname=localhost Port={second} CPUs=2 RealMemory=6000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

CGROUPS = """\
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
ConstrainRAMSpace=yes
ConstrainSwapSpace=yes
"""


def limits_memory() -> bool:
    """Whether the machine lets Slurm limit what jobs use; a container often does not."""
    return os.access("/sys/fs/cgroup/memory", os.W_OK) and Path("/sys/fs/cgroup/memory/cgroup.procs").exists()


def lacking() -> str:
    """Why there can be none here, or an empty string."""
    if os.geteuid():
        return "Slurm's daemons have to be started by root"
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        return f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge"
    return ""


class SlurmHere:
    """Its processes end with ``stop``; ``SLURM_CONF`` says to all that are started meanwhile where it is."""

    def __init__(self, folder: Path) -> None:
        for name in ("state", "n1", "n2"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        controller, first, second = _free_ports(3)
        configuration = folder / "slurm.conf"
        (folder / "cgroup.conf").write_text(CGROUPS)
        tasks = "task/cgroup" if limits_memory() else "task/none"
        configuration.write_text(
            CONFIGURATION.format(folder=folder, controller=controller, first=first, second=second, tasks=tasks)
        )
        os.environ["SLURM_CONF"] = str(configuration)
        self._folder, self._started = folder, list[subprocess.Popen[bytes]]()
        munge = {name: folder / f"munge.{name}" for name in ("sock", "pid", "log", "seed")}
        self._start(
            "munged",
            "--force",
            "--foreground",
            f"--key-file={key}",
            f"--socket={munge['sock']}",
            f"--pid-file={munge['pid']}",
            f"--log-file={munge['log']}",
            f"--seed-file={munge['seed']}",
        )
        until(munge["sock"].exists)
        self._start("slurmctld", "-D")
        for node in ("n1", "n2"):
            self._start("slurmd", "-D", "-N", node)
        until(lambda: set(self.nodes().values()) == {"idle"})

    def nodes(self) -> dict[str, str]:
        """Name → state."""
        return dict(line.split() for line in _said("sinfo", "--noheader", "--Node", "--format=%N %t").splitlines())

    def jobs(self, *states: str) -> list[str]:
        """Ids of jobs in these states (none: all)."""
        lines = _said("squeue", "--noheader", "--states=all", "--format=%i %T").splitlines()
        found = dict(line.split() for line in lines)
        return [number for number, state in found.items() if not states or state in states]

    def set_down(self, node: str) -> None:
        """The controller gives it up, with all that runs there."""
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=down", "reason=check"], check=True)

    def resume(self, node: str) -> None:
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=True)
        until(lambda: self.nodes()[node] in ("idle", "mix", "alloc"))

    def stop(self) -> None:
        """Jobs first: nobody ends them once the daemons are gone."""
        if at_work := self.jobs("RUNNING", "PENDING", "COMPLETING"):
            subprocess.run(["scancel", *at_work], check=False)
            until(lambda: not self.jobs("RUNNING", "PENDING", "COMPLETING"))
        for process in reversed(self._started):
            process.terminate()
            process.wait()
        for left in Path("/sys/fs/cgroup").glob("*/slurm_n[12]"):
            for group in sorted((left, *(path for path in left.rglob("*") if path.is_dir())), reverse=True):
                with contextlib.suppress(OSError):  # what still lives in it is for whoever looks into that
                    group.rmdir()

    def _start(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.{len(self._started)}.out").open("wb") as out:
            self._started.append(subprocess.Popen([name, *arguments], stdout=out, stderr=subprocess.STDOUT))


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
