"""Names that several plugins claim, and plugins that are broken in every way: never a silent winner, never more than a
line."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from harness.request import _without_groups
from janus_bench import plugins
from janus_bench.contract import Capabilities
from janus_bench.errors import PluginError, UsageError
from janus_bench.extensions import Dataset, Metric, hookimpl
from janus_bench.params import split_requests


@dataclass(frozen=True)
class Distribution:
    name: str


class Entry:
    """An installed entry point of one distribution."""

    def __init__(self, name, target, distribution):
        self.name, self.value, self.dist = name, f"{distribution}:{name}", Distribution(distribution)
        self._target = target

    def load(self):
        if isinstance(self._target, Exception):
            raise self._target
        return self._target


def detector(*presets, **members):
    def fit(self, benign, ctx):
        """Nothing to learn."""

    own = {
        "capabilities": Capabilities(inputs=frozenset()),
        "fit": fit,
        "score": lambda self, flows: flows.ids,
        "presets": {key: {} for key in presets},
    }
    return type("Toy", (), {**own, **members})


def contributing(datasets=(), metrics=()):
    """A plugin module with these datasets and metrics; the summary says whose they are."""

    class Plugin:
        @hookimpl
        def janus_bench_datasets(self):
            return [Dataset(name, owner, lambda folder: None, True, "1") for name, owner in datasets]

        @hookimpl
        def janus_bench_metrics(self):
            return [Metric(name, owner, lambda scores: 0.5) for name, owner in metrics]

    return Plugin()


@pytest.fixture
def installed(monkeypatch):
    """Replace everything that is installed by what a test registers: group → entries."""
    groups: dict[str, list[Entry]] = {}
    cached = (plugins._manager, plugins._contributions, plugins._presets)
    for function in cached:
        function.cache_clear()
    monkeypatch.setattr(plugins, "entry_points", lambda group: groups.get(group, []))
    yield groups
    for function in cached:
        function.cache_clear()


def test_a_detector_that_two_distributions_claim_is_nobody_s(installed):
    installed["janus_bench.detectors"] = [
        Entry("iforest", detector(), "janus-bench"),
        Entry("iforest", detector(), "other"),
        Entry("x", detector(), "other"),
    ]
    assert set(plugins.detector_entries()) == {"x"}
    with pytest.raises(PluginError, match=r"'iforest' \(janus-bench, other\): registered more than once"):
        plugins.load_detector("iforest")
    assert [(broken.name, broken.origin) for broken in plugins.colliding_detectors()] == [
        ("iforest", "janus-bench, other")
    ]


def grouped(*groups):
    return detector(capabilities=Capabilities(inputs=frozenset(), groups=groups))


def test_groups_are_what_detectors_declare_and_a_detector_s_or_preset_s_name_is_none(installed):
    installed["janus_bench.detectors"] = [
        Entry("a", grouped("fast", "b"), "janus-bench"),
        Entry("b", grouped("fast"), "janus-bench"),
        Entry("c", detector("quickly", capabilities=Capabilities(inputs=frozenset(), groups={"quickly"})), "other"),
        Entry("broken", ImportError("nothing"), "other"),
    ]
    assert plugins.detector_groups() == {"all": ("a", "b", "c"), "fast": ("a", "b")}


def test_a_request_for_a_group_is_one_for_its_detectors_that_are_not_asked_for_by_themselves(installed):
    installed["janus_bench.detectors"] = [
        *(Entry(name, grouped("fast"), "janus-bench") for name in ("a", "b", "c")),
        Entry("d", grouped("slow", "fast"), "other"),
        Entry("broken", ImportError("nothing"), "other"),
    ]
    expanded = {
        "a,c": ["a", "c"],
        "fast": ["a", "b", "c", "d"],
        "slow,b[x=1],fast": ["d", "b[x=1]", "a", "c"],
        "all,slow": ["a", "b", "c", "d"],
        "pyod:KNN,slow": ["pyod:KNN", "d"],
    }
    said: list[str] = []
    for text, requests in expanded.items():
        assert _without_groups(split_requests(text), said.append) == requests, text
    assert len(said) == 4
    assert all("detector broken (other) is left out: " in line for line in said)
    with pytest.raises(UsageError, match=r"unknown detector 'fats'. Did you mean 'fast'\?"):
        _without_groups(["fats"], said.append)
    with pytest.raises(UsageError, match="'fast' is a group of detectors and has no parameters"):
        _without_groups(["fast[x=1]"], said.append)


def test_a_family_that_two_distributions_claim_is_nobody_s(installed):
    for owner in ("one", "two"):
        installed.setdefault("janus_bench.detector_families", []).append(
            Entry("pyod", lambda member: detector(), owner)
        )
    with pytest.raises(PluginError, match=r"'pyod:KNN' \(one, two\): registered more than once"):
        plugins.load_detector("pyod:KNN")
    assert [broken.name for broken in plugins.colliding_detectors()] == ["pyod"]


@pytest.mark.parametrize("kind", ["datasets", "metrics"])
@pytest.mark.parametrize("names", [("aaa", "zzz"), ("zzz", "aaa")])
def test_a_built_in_dataset_or_metric_stays_the_built_in_s_whatever_the_plugins_are_called(installed, kind, names):
    ours, theirs = names
    installed["janus_bench"] = [
        Entry(theirs, contributing(**{kind: [("auroc", "theirs"), ("new", "theirs")]}), "other"),
        Entry(ours, contributing(**{kind: [("auroc", "ours")]}), "janus-bench"),
    ]
    found = getattr(plugins, kind)()
    assert {name: item.summary for name, item in found.items()} == {"auroc": "ours", "new": "theirs"}
    (broken,) = plugins.broken_plugins()
    assert broken.name == f"{theirs} (other)"
    assert f"'auroc' is left out: it is already registered by {ours} (janus-bench)" in broken.error


@pytest.mark.parametrize("kind", ["datasets", "metrics"])
def test_what_two_other_plugins_claim_is_nobody_s_and_both_are_told(installed, kind):
    installed["janus_bench"] = [
        Entry(name, contributing(**{kind: [("lan", name), (f"only-{name}", name)]}), name) for name in ("one", "two")
    ]
    assert set(getattr(plugins, kind)()) == {"only-one", "only-two"}
    assert [broken.name for broken in plugins.broken_plugins()] == ["one (one)", "two (two)"]
    assert all("one (one) and two (two) claim it" in broken.error for broken in plugins.broken_plugins())


def test_a_preset_of_two_detectors_is_the_built_in_s_or_nobody_s(installed):
    installed["janus_bench.detectors"] = [
        Entry("a", detector("shared", "ours-too"), "other"),
        Entry("b", detector("shared"), "third"),
        Entry("c", detector("ours-too", "own"), "janus-bench"),
    ]
    assert {name: preset.detector for name, preset in plugins.presets().items()} == {"ours-too": "c", "own": "c"}
    with pytest.raises(PluginError, match=r"'shared' .*more than one detector"):
        plugins.load_detector("shared")
    assert {broken.name for broken in plugins.colliding_detectors()} == {"shared", "ours-too"}


BROKEN = {
    "import": RuntimeError("first line\nsecond"),
    "capabilities": detector(capabilities=None),
    "score": detector(score=None),
    "params": detector(Params=dict),
    "profiles": detector(profiles=["quick"]),
    "presets": detector(presets=None),
    "preset": detector(presets={"name": None}),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_detector_is_one_line_and_takes_no_other_with_it(installed, fault):
    installed["janus_bench.detectors"] = [
        Entry("bad", BROKEN[fault], "other"),
        Entry("good", detector("good-preset"), "third"),
    ]
    loaded, broken = plugins.load_detectors()
    assert [each.name for each in loaded] == ["good"]
    assert [(each.name, each.origin) for each in broken] == [("bad", "other")]
    assert "\n" not in broken[0].error
    assert plugins.load_detector("good-preset").name == "good"


def raises(params):
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("declare", "message"),
    [(raises, "declare.. raised KeyError"), (lambda params: None, "declare.. returned NoneType, not Capabilities")],
)
def test_a_declaration_that_fails_is_the_plugin_s_error(installed, declare, message):
    installed["janus_bench.detectors"] = [Entry("bad", detector(declare=staticmethod(declare)), "other")]
    with pytest.raises(PluginError, match=f"'bad': {message}"):
        plugins.load_detector("bad").declaring(None)


def test_an_unknown_name_is_no_plugin_s_fault(installed):
    installed["janus_bench.detectors"] = [Entry("good", detector("fine"), "third")]
    with pytest.raises(UsageError, match=r"unknown detector 'goot'.*Did you mean 'good'"):
        plugins.load_detector("goot")
