"""Kitsune's speed: AfterImage's features, KitNET's training, and its scoring, each on one thread, against the
original's published Python.

    python -m benchmarks.kitsune [CAPTURE ...]

CAPTURE: pcap files of 1 000 packets or more; without any, a SYNTHETIC stream.  ``PUBLISHED`` are the speeds of the
original program (Kitsune-py) on a machine of this class; it is not run here.  Kernels are compiled (or loaded from the
cache) before the clock starts, and that time is printed apart.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# before NumPy is imported
os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np

from datasets_registry.capture.assemble import FileFlows
from datasets_registry.capture.extract import extract_flows
from datasets_registry.capture.rules import FlowRules
from datasets_registry.stream import StreamWriter, open_stream
from detectors.kitsune.afterimage import AfterImage, PacketKeys
from detectors.kitsune.kitnet import KitNET

PUBLISHED = {"features": 6_500, "training": 2_000, "scoring": 4_200}
ASKED = {"features": 50, "training": 80, "scoring": 100}
REPEATS = 5
LARGEST = 100_000  # packets of a capture that are used

Packets = tuple[np.ndarray, np.ndarray, PacketKeys]


def synthetic(n: int = 50_000) -> Packets:
    """Twenty clients and four servers, a new client port every ten packets, 2 000 packets a second."""
    rng = np.random.default_rng(0)
    client, server = rng.integers(0, 20, n // 10).repeat(10), rng.integers(20, 24, n // 10).repeat(10)
    port, back = np.arange(n // 10).repeat(10) % 5000 + 100, rng.random(n) < 0.5
    source, destination = np.where(back, server, client), np.where(back, client, server)
    sockets = [np.where(host == server, host, host * 10_000 + port) for host in (source, destination)]
    keys = (source, source, destination, source * 100 + destination, *sockets)
    return (
        1.7e9 + rng.exponential(5e-4, n).cumsum(),
        rng.integers(60, 1500, n),
        PacketKeys(*(key.astype(np.uint64) for key in keys)),
    )


def of_capture(path: Path) -> Packets:
    """The first packets of a capture."""
    segments: list[FileFlows] = []
    extract_flows(path, FlowRules(), segments)
    with tempfile.TemporaryDirectory() as folder:
        with StreamWriter(Path(folder) / "stream", bytes(16)) as writer:
            writer.add(path.name, path, FlowRules(), np.arange(sum(map(len, segments))))
        stream, _ = open_stream(Path(folder) / "stream")
        time, size, *keys = (np.array(stream[name][:LARGEST]) for name in ("time", "size", *PacketKeys._fields))
    return time, size, PacketKeys(*keys)


def seconds(run: Callable[[], object]) -> float:
    """Median of ``REPEATS`` runs, in processor time: on one thread that is what an idle machine takes, and others' work
    does not count."""
    measured = []
    for _ in range(REPEATS):
        start = time.process_time()
        run()
        measured.append(time.process_time() - start)
    return statistics.median(measured)


def trained(features: np.ndarray) -> KitNET:
    """KitNET with its groups from the first tenth and trained on the rest."""
    kitnet = KitNET()
    kitnet.learn_groups(features[: len(features) // 10])
    kitnet.train(features[len(features) // 10 :])
    return kitnet


def measure(packets: Packets) -> dict[str, float]:
    """Packets per second of each step."""
    n = len(packets[0])
    features = AfterImage(*packets).next(n)
    kitnet = trained(features)
    return {
        "features": n / seconds(lambda: AfterImage(*packets).next(n)),
        "training": n / seconds(lambda: kitnet.train(features)),
        "scoring": n / seconds(lambda: kitnet.score(features)),
    }


def main(paths: list[str]) -> int:
    start = time.perf_counter()
    trained(AfterImage(*synthetic(1000)).next(1000)).score(np.zeros((10, 100)))
    print(
        f"compiled or loaded in {time.perf_counter() - start:.1f} s; medians of {REPEATS} runs, one thread, "
        "processor time"
    )
    for name, packets in {Path(path).name: of_capture(Path(path)) for path in paths}.items() or {
        "SYNTHETIC": synthetic()
    }.items():
        print(f"{name}, {len(packets[0]):,} packets")
        for step, speed in measure(packets).items():
            ratio = speed / PUBLISHED[step]
            print(
                f"  {step:9} {speed:12,.0f} packets/s  {ratio:6.0f}x the original's {PUBLISHED[step]:,} "
                f"(asked: {ASKED[step]}x)"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
