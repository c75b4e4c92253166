"""Drivers of published datasets: one file each, which holds the dataset's constants and a ``DRIVER``.

Another package adds one by an entry point of the group ``janus_bench.drivers``: ``name = "package.module:DRIVER"``.
"""

import importlib
from importlib import metadata

from datasets_registry.drivers.driver import Driver
from janus_bench.errors import PluginError

GROUP = "janus_bench.drivers"
BUILT_IN = (
    *("cicddos2019", "cicids2017", "cicids2018", "ciciot2023", "ctu13", "iot23", "iscxtor2016", "nf_v2"),
    "unsw_nb15",
)


def _installed() -> dict[str, metadata.EntryPoint]:
    return {entry.name: entry for entry in metadata.entry_points(group=GROUP)}


def driver_names() -> list[str]:
    """Names of the drivers that are there, none of them imported."""
    return sorted({*BUILT_IN, *_installed()})


def load_driver(name: str) -> Driver:
    """The driver called ``name``, one of ``driver_names()``; PluginError if another package's cannot be loaded or is
    none."""
    entry = _installed().get(name)
    if name in BUILT_IN or entry is None:
        return importlib.import_module(f"{__name__}.{name}").DRIVER
    origin = f"driver {name} ({entry.dist.name if entry.dist else entry.value})"
    try:
        driver = entry.load()
    except Exception as error:  # noqa: BLE001 — whatever another package's module does at import
        raise PluginError(f"{origin} cannot be loaded: {type(error).__name__}: {error}") from None
    if not isinstance(driver, Driver) or driver.name != name:
        raise PluginError(f"{origin} is no Driver called {name!r}")
    return driver
