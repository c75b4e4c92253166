"""``score`` on a large capture: packets and flows a second, and a peak memory that does not grow with the file.

    python -m benchmarks.operate --captures FOLDER [--detectors iforest,janus-plus] [--megabytes 1024] [--fit FOLDER]

The captures of the folder (of Ethernet, as classic pcap) are laid side by side in time, and that is written again and
again, each time later and with other IPv4 addresses, until the file is so large; half of it is scored first, then all.
``--fit``: captures that the detectors are fitted on; by default the same.  Peak memory is that of all processes
together, looked at ten times a second.
"""

import argparse
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

COMMAND = [sys.executable, "-c", "from harness.cli.main import main; main()"]


def packets_of(path: Path) -> list[tuple[int, bytes]]:
    """Packets of a classic little-endian pcap of µs and Ethernet: (µs since its first, record behind the time)."""
    data, found, at, first = path.read_bytes(), [], 24, None
    if data[:4] != b"\xd4\xc3\xb2\xa1" or struct.unpack_from("<I", data, 20)[0] & 0x03FF_FFFF != 1:
        return []
    while at + 16 <= len(data):
        seconds, micros, size = struct.unpack_from("<III", data, at)
        when = seconds * 10**6 + micros
        first = when if first is None else first
        if when >= first and when - first < 3600 * 10**6:
            found.append((when - first, data[at + 8 : at + 16 + size]))
        at += 16 + size
    return found


def moved(record: bytes, copy: int) -> bytes:
    """The same record between other hosts: the second octet of IPv4 addresses changes."""
    if record[20:22] != b"\x08\x00" or len(record) < 42:
        return record
    changed = bytearray(record)
    for place in (35, 39):
        changed[place] ^= copy & 0xFF
    return bytes(changed)


def write_capture(folder: Path, destination: Path, size: int) -> None:
    packets = sorted(packet for path in sorted(folder.rglob("*.pcap")) for packet in packets_of(path))
    span = packets[-1][0] + 10**6
    with destination.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        copy = 0
        while file.tell() < size:
            begin = 1_700_000_000 * 10**6 + copy * span
            for when, record in packets:
                seconds, micros = divmod(begin + when, 10**6)
                file.write(struct.pack("<II", seconds, micros) + moved(record, copy))
            copy += 1


def watched(arguments: list[str]) -> tuple[float, float, str]:
    """Seconds, peak MB of all processes, and what the command said."""
    started, peak = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=said)
        root = psutil.Process(child.pid)
        while child.poll() is None:
            try:
                family = [root, *root.children(recursive=True)]
                peak = max(peak, sum(process.memory_info().rss for process in family))
            except psutil.Error:
                pass
            time.sleep(0.1)
        elapsed = time.monotonic() - started
        said.seek(0)
        text = said.read()
    if child.returncode:
        sys.exit(text)
    return elapsed, peak / 2**20, text


def number_before(text: str, word: str) -> int:
    return int(text.split(f" {word}")[0].split()[-1].replace(",", ""))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--captures", type=Path, required=True)
    parser.add_argument("--fit", type=Path)
    parser.add_argument("--detectors", default="iforest,janus-plus")
    parser.add_argument("--megabytes", type=int, default=1024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        halves = {"half": options.megabytes * 2**19, "whole": options.megabytes * 2**20}
        for which, size in halves.items():
            write_capture(options.captures, folder / f"{which}.pcap", size)
        for detector in options.detectors.split(","):
            model = str(folder / f"{detector}.model")
            watched(["fit", detector, str(options.fit or options.captures), "-o", model])
            for which in halves:
                capture = folder / f"{which}.pcap"
                elapsed, peak, said = watched(["score", model, str(capture), "--format", "jsonl"])
                packets, flows = number_before(said, "packets"), number_before(said, "flows,")
                print(
                    f"{detector}, {which}: {capture.stat().st_size / 1e6:,.0f} MB, {packets / elapsed:,.0f} packets/s, "
                    f"{flows / elapsed:,.0f} flows/s ({flows:,} flows in {elapsed:.0f} s), peak {peak:.0f} MB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
