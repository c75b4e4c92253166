"""Discovery: entry points for detectors, pluggy hooks for the rest.  Every load is guarded; a broken plugin is one line, never a crash."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from janus_bench.contract import Capabilities
from janus_bench.errors import PluginError, UsageError, unknown
from janus_bench.extensions import (
    PROJECT,
    Dataset,
    HookSpecs,
    Metric,
    ProtocolSpec,
    Renderer,
)

DETECTOR_GROUP = "janus_bench.detectors"
FAMILY_GROUP = "janus_bench.detector_families"

__all__ = [
    "Broken",
    "LoadedDetector",
    "broken_plugins",
    "datasets",
    "detector_entries",
    "load_detector",
    "metrics",
    "notify",
    "presets",
    "protocols",
    "renderers",
]


@dataclasses.dataclass(frozen=True)
class Broken:
    """A plugin that cannot be used, and why, in one line."""

    name: str
    origin: str
    error: str


@dataclasses.dataclass(frozen=True)
class Preset:
    """A detector with parameters under a name of its own; its runs are those of the detector with these parameters."""

    name: str
    detector: str
    params: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class LoadedDetector:
    """A detector class with what it declares; ``preset``: parameters that come with the name it was asked for by."""

    name: str
    factory: Callable[..., Any]
    capabilities: Capabilities
    params_type: Any
    profiles: Mapping[str, Mapping[str, Any]]
    preset: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def create(self, params: Any) -> Any:
        return self.factory() if self.params_type is None else self.factory(params)

    def declaring(self, params: Any) -> LoadedDetector:
        """The same with the capabilities that these parameters give it."""
        declare = getattr(self.factory, "declare", None)
        return self if declare is None else dataclasses.replace(self, capabilities=declare(params))


def one_line(error: BaseException) -> str:
    """An exception as ``Type: first line``."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def detector_entries() -> dict[str, EntryPoint]:
    """Detector name → entry point, without importing any; a name that two distributions claim is left to ``colliding_detectors``."""
    return {name: found[0] for name, found in _by_name().items() if len(found) == 1}


def detector_families() -> dict[str, EntryPoint]:
    """Family → entry point of a function that makes a detector class of a member's name: ``pyod:ECOD`` is the member ``ECOD`` of ``pyod``."""
    return {entry.name: entry for entry in entry_points(group=FAMILY_GROUP)}


def colliding_detectors() -> list[Broken]:
    """Names that more than one distribution registers."""
    return [
        Broken(name, ", ".join(_origin(entry) for entry in found), "registered more than once: uninstall one of the distributions")
        for name, found in _by_name().items()
        if len(found) > 1
    ]


def load_detector(name: str) -> LoadedDetector:
    """Import a detector, by its own name or by a preset's, and check what it declares.

    UsageError for an unknown name, PluginError for a broken plugin.
    """
    if name not in detector_entries() and name in presets():
        return dataclasses.replace(load_detector(presets()[name].detector), preset=presets()[name].params)
    family, _, member = name.partition(":")
    families = detector_families()
    if member and family in families:
        entry, make = families[family], lambda: families[family].load()(member)
    else:
        entry = _entry(name)
        make = entry.load
    try:
        return describe_detector(name, make())
    except UsageError:  # a family's: there is no such member
        raise
    except PluginError as error:
        raise PluginError(f"detector {name!r} ({_origin(entry)}): {error}") from None
    except Exception as error:  # noqa: BLE001  whatever a plugin raises at import is the plugin's, and costs one line
        raise PluginError(f"detector {name!r} ({_origin(entry)}) cannot be loaded: {one_line(error)}") from None


def _entry(name: str) -> EntryPoint:
    entries = detector_entries()
    if name in entries:
        return entries[name]
    for broken in colliding_detectors():
        if broken.name == name:
            raise PluginError(f"detector {name!r} ({broken.origin}): {broken.error}")
    raise unknown("detector", name, {*entries, *presets()})


def describe_detector(name: str, factory: Any) -> LoadedDetector:
    """Read a detector class's declarations; PluginError says which one is missing or wrong."""
    capabilities = getattr(factory, "capabilities", None)
    if not isinstance(capabilities, Capabilities):
        raise PluginError("has no `capabilities` attribute of type janus_bench.Capabilities")
    for method in ("fit", "score", *(("calibrate",) if capabilities.calibrates else ())):
        if not callable(getattr(factory, method, None)):
            raise PluginError(f"has no method {method}()")
    params_type: Any = getattr(factory, "Params", None)
    if params_type is not None and not (dataclasses.is_dataclass(params_type) and params_type.__dataclass_params__.frozen):  # type: ignore[union-attr]
        raise PluginError("`Params` must be a frozen dataclass")
    return LoadedDetector(name, factory, capabilities, params_type, getattr(factory, "profiles", {}))


@cache
def _manager() -> tuple[pluggy.PluginManager, tuple[Broken, ...]]:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpecs)
    broken = []
    for entry in sorted(entry_points(group=PROJECT), key=lambda entry: (entry.name, _origin(entry))):
        try:
            manager.register(entry.load(), name=f"{entry.name} ({_origin(entry)})")
            manager.check_pending()
        except Exception as error:  # noqa: BLE001  see load_detector
            broken.append(Broken(entry.name, _origin(entry), f"cannot be loaded: {one_line(error)}"))
            manager.unregister(name=f"{entry.name} ({_origin(entry)})")
    return manager, tuple(broken)


def _collect(hook: str, expected: type, kind: str) -> tuple[dict[str, Any], tuple[Broken, ...]]:
    """Everything the plugins contribute through one hook, by name; what is broken or already taken is reported instead."""
    manager, _ = _manager()
    found: dict[str, Any] = {}
    broken: list[Broken] = []
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        plugin = implementation.plugin_name
        try:
            items: list[Any] = list(implementation.function())
        except Exception as error:  # noqa: BLE001  see load_detector
            broken.append(Broken(plugin, hook, one_line(error)))
            continue
        for item in items:
            name = getattr(item, "name", "")
            if not isinstance(item, expected):
                broken.append(Broken(plugin, hook, f"returned {type(item).__name__}, expected {expected.__name__}"))
            elif name in found:
                broken.append(Broken(plugin, hook, f"{kind} {name!r} is already registered by another plugin"))
            else:
                found[name] = item
    return found, tuple(broken)


@cache
def _contributions() -> tuple[dict[str, dict[str, Any]], tuple[Broken, ...]]:
    collected, broken = {}, list(_manager()[1])
    for kind, expected in (("dataset", Dataset), ("protocol", ProtocolSpec), ("metric", Metric), ("renderer", Renderer)):
        collected[kind], failures = _collect(f"{PROJECT}_{kind}s", expected, kind)
        broken += failures
    return collected, tuple(broken)


def datasets() -> Mapping[str, Dataset]:
    return _contributions()[0]["dataset"]


@cache
def presets() -> Mapping[str, Preset]:
    """Presets of all detectors that can be loaded; a name that a detector or an earlier preset has is not taken from them."""
    found: dict[str, Preset] = {}
    entries = detector_entries()
    for name in entries:
        try:
            loaded = load_detector(name)
        except PluginError:  # said wherever detectors are listed
            continue
        for preset, params in getattr(loaded.factory, "presets", {}).items():
            if preset not in entries:
                found.setdefault(preset, Preset(preset, name, params))
    return found


def protocols() -> Mapping[str, ProtocolSpec]:
    return _contributions()[0]["protocol"]


def metrics() -> Mapping[str, Metric]:
    return _contributions()[0]["metric"]


def renderers() -> Mapping[str, Renderer]:
    return _contributions()[0]["renderer"]


def broken_plugins() -> tuple[Broken, ...]:
    """Plugins of the group ``janus_bench`` that could not be used."""
    return _contributions()[1]


def notify(hook: str, argument: Mapping[str, Any], report: Callable[[str], None]) -> None:
    """Call a run callback of every plugin; what one raises is reported in a line and changes nothing."""
    manager, _ = _manager()
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        try:
            implementation.function(*[argument for _ in implementation.argnames])
        except Exception as error:  # noqa: BLE001  see load_detector
            report(f"plugin {implementation.plugin_name}: {hook} raised {one_line(error)}")


def _by_name() -> Mapping[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry in _unique(entry_points(group=DETECTOR_GROUP)):
        found[entry.name].append(entry)
    return dict(sorted(found.items()))


def _unique(entries: Iterable[EntryPoint]) -> Iterable[EntryPoint]:
    """One distribution can be seen twice (an editable install and its source folder on the path): the same claim counts once."""
    return {(entry.name, entry.value, _origin(entry)): entry for entry in entries}.values()


def _origin(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown distribution"
