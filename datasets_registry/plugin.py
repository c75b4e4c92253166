"""The datasets that come with the harness: the synthetic suite."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from janus_bench.extensions import Dataset, hookimpl

VERSION = "1"
SUMMARIES = {
    "synthetic_office": (
        "simulated company office: Windows workstations, directory and file servers, a public web server"
    ),
    "synthetic_home": "simulated smart home: phones, televisions and many small things behind a DSL line with Wi-Fi",
    "synthetic_factory": (
        "simulated plant: Modbus controllers, panels, engineering stations, a thin line to the outside"
    ),
    "synthetic_campus": (
        "simulated university network: personal devices, servers open to the world, IPv6, Tor-like users"
    ),
}


@hookimpl
def janus_bench_datasets() -> Iterable[Dataset]:
    """Four simulated sites."""
    return [
        Dataset(name, summary, partial(_write, name), True, VERSION, "MIT (generated)")
        for name, summary in SUMMARIES.items()
    ]


def _write(name: str, folder: Path) -> None:
    from .synthetic.suite import write_site  # the simulator needs numpy, the list of datasets does not

    write_site(name, folder)
