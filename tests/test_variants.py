"""Presets, a protocol's variants with parameters and aggregators of their own, and capabilities that follow the
parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from harness.plan import DetectorChoice, Plan, Settings, make_plan
from janus_bench.contract import Capabilities
from janus_bench.extensions import BEST_FIXED, ProtocolSpec, Variant
from janus_bench.plugins import LoadedDetector

SETTINGS = Settings("quick", "grouped", (42,), "cpu")
DATASETS = {name: {"hash": f"hash of {name}"} for name in "ab"}


class Two:
    """Two score columns, of which ``narrow`` leaves one."""

    @dataclass(frozen=True)
    class Params:
        narrow: bool = False
        depth: int = 1

    capabilities = Capabilities(inputs=frozenset({"features"}), scores=("x", "y"), aggregator="oas")

    @classmethod
    def declare(cls, params: Params) -> Capabilities:
        return replace(cls.capabilities, scores=("x",), aggregator=None) if params.narrow else cls.capabilities


def choice(preset: dict[str, object] | None = None, **given: object) -> DetectorChoice:
    return DetectorChoice("two", LoadedDetector("two", Two, Two.capabilities, Two.Params, {}, preset or {}), given)


def planned(*variants: Variant, chosen: DetectorChoice | None = None) -> Plan:
    protocol = ProtocolSpec(
        "p", "", lambda names: [(name, name) for name in names], regimes=("transfer",), variants=variants
    )
    return make_plan(protocol, DATASETS, [chosen or choice()], SETTINGS)


def test_variants_that_differ_in_the_aggregator_alone_share_their_runs_and_keep_rows_of_their_own():
    plan = planned(Variant("own"), Variant("x alone", aggregator="column:x"), Variant("best", aggregator=BEST_FIXED))
    assert len(plan.fits) == 2  # one per dataset
    rows = plan.record.detectors
    assert {label: row.aggregator for label, row in rows.items()} == {
        "two · own": "oas",
        "two · x alone": "column:x",
        "two · best": "best-fixed",
    }
    keys = {label: {cell.run_key for cell in plan.record.cells if cell.label == label} for label in rows}
    assert keys["two · own"] == keys["two · x alone"] == keys["two · best"]


def test_a_variant_overrides_the_user_who_overrides_the_preset():
    plan = planned(
        Variant("deep", params={"depth": 9}), Variant("as asked"), chosen=choice({"depth": 3, "narrow": True}, depth=5)
    )
    depth = {fit.label: (fit.first.params["depth"], fit.first.params["narrow"]) for fit in plan.fits}
    assert depth == {"two · deep": (9, True), "two · as asked": (5, True)}


def test_score_columns_and_aggregator_follow_the_parameters():
    plan = planned(Variant("whole"), Variant("narrow", params={"narrow": True}))
    assert {fit.label: fit.loaded.capabilities.scores for fit in plan.fits} == {
        "two · whole": ("x", "y"),
        "two · narrow": ("x",),
    }
    assert plan.record.detectors["two · narrow"].aggregator == "identity"


def test_a_preset_is_listed_checked_and_shares_the_runs_of_the_same_parameters(plugin_cli):
    listed = json.loads(plugin_cli("detector", "list", "--format", "json").stdout)
    assert [row["source"] for row in listed if row["detector"] == "example-zscore-tight"] == [
        "example-zscore with clip=3.0"
    ]
    assert plugin_cli("detector", "check", "example-zscore-tight").returncode == 0
    assert (
        '"parameters": "clip=3.0"' in plugin_cli("detector", "info", "example-zscore-tight", "--format", "json").stdout
    )
    run = ("run", "--protocol", "within", "--datasets", "alpha,beta", "--seeds", "42", "--detectors")
    assert plugin_cli(*run, "example-zscore-tight").returncode == 0
    again = plugin_cli(*run, "example-zscore[clip=3.0]")
    assert again.returncode == 0
    assert "nothing to do: all 4 runs" in again.stderr
    unknown = plugin_cli("detector", "info", "example-zscore-tigth")
    assert unknown.returncode == 2
    assert "example-zscore-tight" in unknown.stderr
