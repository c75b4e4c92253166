"""Discovery: entry points for detectors, pluggy hooks for the rest.  Every load is guarded; a broken plugin is one
line, never a crash."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from janus_bench import one_file
from janus_bench.errors import JanusBenchError, PluginError, UsageError, unknown
from janus_bench.extensions import PROJECT, Dataset, HookSpecs, Metric, ProtocolSpec, Renderer

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint
    from pathlib import Path

    from janus_bench.contract import Capabilities

BUILT_IN = "janus-bench"  # The distribution whose names nobody else can take.
DETECTOR_GROUP = "janus_bench.detectors"
FAMILY_GROUP = "janus_bench.detector_families"


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
    """A detector class with what it declares.

    preset        parameters that come with the name it was asked for by
    file, digest  of one that no package brings (``janus_bench.one_file``): where it can be loaded again, and what its
                  content hashes to
    """

    name: str
    factory: Callable[..., Any]
    capabilities: Capabilities
    params_type: Any
    profiles: Mapping[str, Mapping[str, Any]]
    preset: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    file: str = ""
    digest: str = ""

    @property
    def version(self) -> str:
        """What it says itself, and of a single file its content: scores follow from every line of it."""
        return self.capabilities.version + (f", file {self.digest}" if self.file else "")

    def create(self, params: Any) -> Any:
        return self.factory() if self.params_type is None else self.factory(params)

    @property
    def saves(self) -> bool:
        """Whether a fit of it can be kept."""
        return callable(getattr(self.factory, "save", None)) and callable(getattr(self.factory, "load", None))

    @property
    def explains(self) -> bool:
        """Whether it says itself what it found odd in a flow."""
        return callable(getattr(self.factory, "explain", None))

    def restore(self, folder: Path, params: Any) -> Any:
        """What its ``save`` left in ``folder``; PluginError if it cannot be read."""
        try:
            return self.factory.load(folder, params)  # type: ignore[attr-defined]
        except JanusBenchError:
            raise
        except Exception as error:  # noqa: BLE001  see load_detector
            raise PluginError(f"detector {self.name!r}: load() raised {one_line(error)}") from None

    def declaring(self, params: Any) -> LoadedDetector:
        """The same with the capabilities that these parameters give it; PluginError if its ``declare`` does not give
        any."""
        from janus_bench.contract import Capabilities

        declare = getattr(self.factory, "declare", None)
        if declare is None:
            return self
        try:
            capabilities = declare(params)
        except JanusBenchError:
            raise
        except Exception as error:  # noqa: BLE001  see load_detector
            raise PluginError(f"detector {self.name!r}: declare() raised {one_line(error)}") from None
        if not isinstance(capabilities, Capabilities):
            raise PluginError(
                f"detector {self.name!r}: declare() returned {type(capabilities).__name__}, not Capabilities"
            )
        return dataclasses.replace(self, capabilities=capabilities)


def entry_points(group: str) -> Iterable[EntryPoint]:
    """Those of every installed distribution; imported here, for ``--help`` has no use for the metadata of packages."""
    from importlib import metadata

    return metadata.entry_points(group=group)


def one_line(error: BaseException) -> str:
    """An exception as ``Type: first line``, or ``Type`` alone where it cannot say more."""
    try:
        text = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001  a stranger's exception may fail once more while it is printed
        text = []
    more = " …" if len(text) > 1 else ""
    return f"{type(error).__name__}: {text[0]}{more}" if text else type(error).__name__


def detector_entries() -> dict[str, EntryPoint]:
    """Detector name → entry point, without importing any; a name that two distributions claim is left to
    ``colliding_detectors``."""
    return _claimed_once(DETECTOR_GROUP)


def detector_families() -> dict[str, EntryPoint]:
    """Family → entry point of a function that makes a detector class of a member's name: ``pyod:ECOD`` is the member
    ``ECOD`` of ``pyod``."""
    return _claimed_once(FAMILY_GROUP)


def colliding_detectors() -> list[Broken]:
    """Names of detectors, families and presets that more than one distribution or detector claims: nobody has them."""
    taken = "registered more than once: uninstall one of the distributions"
    claims = [
        (name, found)
        for group in (DETECTOR_GROUP, FAMILY_GROUP)
        for name, found in _by_name(group).items()
        if len(found) > 1
    ]
    return [*(Broken(name, ", ".join(map(_origin, found)), taken) for name, found in claims), *_presets()[1]]


def load_detectors() -> tuple[list[LoadedDetector], list[Broken]]:
    """Every detector that can be loaded, and every one that cannot, with the reason in a line."""
    loaded, broken = [], colliding_detectors()
    for name, entry in detector_entries().items():
        try:
            loaded.append(load_detector(name))
        except PluginError as error:
            broken.append(Broken(name, _origin(entry), str(error)))
    return loaded, broken


def detector_groups() -> Mapping[str, tuple[str, ...]]:
    """Group → the detectors that declare it; ``all`` has every one.  A detector's or preset's own name is no group."""
    members: dict[str, list[str]] = {"all": []}
    for detector in load_detectors()[0]:
        for group in ("all", *sorted(detector.capabilities.groups)):
            members.setdefault(group, []).append(detector.name)
    taken = {*_by_name(DETECTOR_GROUP), *presets()}
    return {group: tuple(names) for group, names in sorted(members.items()) if group not in taken}


def load_planned(name: str) -> LoadedDetector:
    """``load_detector`` of a name or file that a plan has: no other plugin is imported, and none is asked whether it
    claims that name, too."""
    return _in_file(name) if one_file.is_file(name) else _load(name)


def load_detector(name: str) -> LoadedDetector:
    """Import a detector, by its own name, by a preset's or by its file, and check what it declares.

    UsageError for an unknown name or a wrong file, PluginError for a broken plugin.
    """
    if one_file.is_file(name):
        return _of_its_own(_in_file(name))
    family, _, member = name.partition(":")
    if name in _by_name(DETECTOR_GROUP) or (member and family in _by_name(FAMILY_GROUP)):
        return _of_its_own(_load(name))
    if name in presets():
        return dataclasses.replace(_load(presets()[name].detector), preset=presets()[name].params)
    for broken in colliding_detectors():
        if broken.name == name:
            raise PluginError(f"detector {name!r} ({broken.origin}): {broken.error}")
    if member:
        raise unknown("family of detectors", family, detector_families())
    if family in detector_families():
        raise UsageError(f"{family}: is a family of detectors: name the one that is meant behind the colon")
    raise unknown("detector", name, {*detector_entries(), *presets()}, hint_of(name))


def hint_of(name: str) -> str:
    """For somebody who names a file without saying that it is one."""
    return f"A file is asked for as ./{name}.py." if Path(f"{name}.py").is_file() else ""


def _of_its_own(loaded: LoadedDetector) -> LoadedDetector:
    """UsageError for a file whose rows would bear an installed detector's name: they would be taken for that one's."""
    if loaded.file and loaded.name in {*_by_name(DETECTOR_GROUP), *presets()}:
        raise UsageError(
            f"{loaded.file}: {loaded.name!r} is an installed detector: give the file, or what is in it, another name"
        )
    return loaded


def _in_file(request: str) -> LoadedDetector:
    name, cls, file, digest = one_file.load(request)
    try:
        return dataclasses.replace(describe_detector(name, cls), file=file, digest=digest)
    except PluginError as error:
        raise UsageError(f"{request}: {cls.__name__} {error}") from None


def _load(name: str) -> LoadedDetector:
    """A detector by its own name, or a member of a family."""
    family, _, member = name.partition(":")
    claimed, own = (
        (_by_name(FAMILY_GROUP), family)
        if member and family in _by_name(FAMILY_GROUP)
        else (_by_name(DETECTOR_GROUP), name)
    )
    entry, *others = claimed[own]
    origin = ", ".join(map(_origin, claimed[own]))
    if others:
        raise PluginError(
            f"detector {name!r} ({origin}): registered more than once: uninstall one of the distributions"
        )
    try:
        return _of_file(describe_detector(name, entry.load() if own == name else entry.load()(member)), family)
    except UsageError:  # a family's: there is no such member
        raise
    except PluginError as error:
        raise PluginError(f"detector {name!r} ({origin}): {error}") from None
    except Exception as error:  # noqa: BLE001  whatever a plugin raises at import is the plugin's, and costs one line
        raise PluginError(f"detector {name!r} ({origin}) cannot be loaded: {one_line(error)}") from None


def _of_file(loaded: LoadedDetector, family: str) -> LoadedDetector:
    """A family's member that is a file of the user's (``own_file``: name, whole path, digest of all that it is made of)
    is a detector in a file as any other."""
    if (own := getattr(loaded.factory, "own_file", None)) is None:
        return loaded
    name, path, digest = own
    return dataclasses.replace(loaded, name=name, file=f"{family}:{path}", digest=digest)


def describe_detector(name: str, factory: Any) -> LoadedDetector:
    """Read a detector class's declarations; PluginError says which one is missing or wrong."""
    from janus_bench.contract import Capabilities

    capabilities = getattr(factory, "capabilities", None)
    if not isinstance(capabilities, Capabilities):
        raise PluginError("has no `capabilities` attribute of type janus_bench.Capabilities")
    for method in ("fit", "score", *(("calibrate",) if capabilities.calibrates else ())):
        if not callable(getattr(factory, method, None)):
            raise PluginError(f"has no method {method}()")
    params_type: Any = getattr(factory, "Params", None)
    if params_type is not None and not (
        dataclasses.is_dataclass(params_type) and params_type.__dataclass_params__.frozen  # type: ignore[union-attr]
    ):
        raise PluginError("`Params` must be a frozen dataclass")
    if params_type is not None:
        _check_defaults(params_type)
    for table in ("profiles", "presets"):
        named = getattr(factory, table, {})
        if not (isinstance(named, Mapping) and all(isinstance(overrides, Mapping) for overrides in named.values())):
            raise PluginError(f"`{table}` must map names to parameters")
    return LoadedDetector(name, factory, capabilities, params_type, getattr(factory, "profiles", {}))


def _check_defaults(params_type: Any) -> None:
    from janus_bench.params import fits_into_json

    try:
        defaults = dataclasses.asdict(params_type())
    except Exception as error:  # noqa: BLE001  see load_detector
        raise PluginError(f"`Params()` raised {one_line(error)}: every parameter needs a default") from None
    for name, value in defaults.items():
        if not fits_into_json(value):
            raise PluginError(f"the default of parameter {name}, {value!r}, does not fit into JSON, as runs are named")


@cache
def _manager() -> tuple[pluggy.PluginManager, tuple[Broken, ...]]:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpecs)
    broken = []
    for entry in sorted(
        entry_points(group=PROJECT), key=lambda entry: (_origin(entry) != BUILT_IN, entry.name, _origin(entry))
    ):
        try:
            manager.register(entry.load(), name=f"{entry.name} ({_origin(entry)})")
            manager.check_pending()
        except Exception as error:  # noqa: BLE001  see load_detector
            broken.append(Broken(entry.name, _origin(entry), f"cannot be loaded: {one_line(error)}"))
            manager.unregister(name=f"{entry.name} ({_origin(entry)})")
    return manager, tuple(broken)


def _collect(hook: str, expected: type, kind: str) -> tuple[dict[str, Any], tuple[Broken, ...]]:
    """Everything the plugins contribute through one hook, by name, and what is wrong with the rest.

    A built-in name stays the built-in's.  A name that two other plugins claim is nobody's: a result under it would be
    of no one knows which.
    """
    manager, _ = _manager()
    claims: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    broken: list[Broken] = []
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        plugin = implementation.plugin_name
        try:
            items: list[Any] = list(implementation.function())
        except Exception as error:  # noqa: BLE001  see load_detector
            broken.append(Broken(plugin, hook, one_line(error)))
            continue
        for item in items:
            if isinstance(item, expected):
                claims[getattr(item, "name", "")].append((plugin, item))
            else:
                broken.append(Broken(plugin, hook, f"returned {type(item).__name__}, expected {expected.__name__}"))
    found = {}
    for name, claimed in claims.items():
        (first, item), *others = claimed
        if not others or first.endswith(f"({BUILT_IN})"):
            found[name] = item
            broken += [
                Broken(plugin, hook, f"{kind} {name!r} is left out: it is already registered by {first}")
                for plugin, _ in others
            ]
        else:
            plugins = " and ".join(plugin for plugin, _ in claimed)
            broken += [
                Broken(plugin, hook, f"{kind} {name!r} is left out: {plugins} claim it; uninstall one")
                for plugin, _ in claimed
            ]
    return found, tuple(broken)


@cache
def _contributions() -> tuple[dict[str, dict[str, Any]], tuple[Broken, ...]]:
    collected, broken = {}, list(_manager()[1])
    for kind, expected in (
        ("dataset", Dataset),
        ("protocol", ProtocolSpec),
        ("metric", Metric),
        ("renderer", Renderer),
    ):
        collected[kind], failures = _collect(f"{PROJECT}_{kind}s", expected, kind)
        broken += failures
    return collected, tuple(broken)


def datasets() -> Mapping[str, Dataset]:
    return _contributions()[0]["dataset"]


def presets() -> Mapping[str, Preset]:
    """Presets of all detectors that can be loaded; a detector's name is never a preset's, and a name that two detectors
    give is nobody's."""
    return _presets()[0]


@cache
def _presets() -> tuple[dict[str, Preset], tuple[Broken, ...]]:
    claims: dict[str, list[tuple[EntryPoint, Preset]]] = defaultdict(list)
    entries = detector_entries()
    for name, entry in sorted(entries.items(), key=lambda item: _origin(item[1]) != BUILT_IN):
        try:
            loaded = _load(name)
        except PluginError:  # said wherever detectors are listed
            continue
        for preset, params in getattr(loaded.factory, "presets", {}).items():
            claims[preset].append((entry, Preset(preset, name, params)))
    found, broken = {}, []
    for name, claimed in claims.items():
        owners = ", ".join(f"{preset.detector} ({_origin(entry)})" for entry, preset in claimed)
        if name in _by_name(DETECTOR_GROUP):
            broken.append(Broken(name, owners, "is a preset's name and a detector's: the detector has it"))
        elif len(claimed) == 1 or _origin(claimed[0][0]) == BUILT_IN:
            found[name] = claimed[0][1]
            broken += [
                Broken(name, _origin(entry), f"preset of {preset.detector} is left out: {owners} claim it")
                for entry, preset in claimed[1:]
            ]
        else:
            broken.append(
                Broken(name, owners, "is a preset of more than one detector: uninstall one of the distributions")
            )
    return found, tuple(broken)


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


def _by_name(group: str) -> Mapping[str, list[EntryPoint]]:
    return _found(group, entry_points)


@cache
def _found(group: str, installed: Callable[..., Iterable[EntryPoint]]) -> Mapping[str, list[EntryPoint]]:
    """Read once a process: reading takes some 20 ms, and a request may name many detectors."""
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    # One distribution can be seen twice (an editable install and its source folder on the path): the same claim counts
    # once.
    for entry in {(entry.name, entry.value, _origin(entry)): entry for entry in installed(group=group)}.values():
        found[entry.name].append(entry)
    return dict(sorted(found.items()))


def _claimed_once(group: str) -> dict[str, EntryPoint]:
    return {name: found[0] for name, found in _by_name(group).items() if len(found) == 1}


def _origin(entry: EntryPoint) -> str:
    return _name_of(entry.dist) if entry.dist is not None else "unknown distribution"


@cache
def _name_of(distribution: Distribution) -> str:
    """Which reads its metadata anew each time."""
    return distribution.name
