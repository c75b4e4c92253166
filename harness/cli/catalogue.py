"""Lists of what is installed: detectors, protocols, metrics, renderers; and the conformance check."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import completing, console
from harness.cli.options import ListFormat
from janus_bench import plugins
from janus_bench.errors import JanusBenchError, unknown
from janus_bench.extensions import ProtocolSpec
from janus_bench.params import build_params, parse_request

if TYPE_CHECKING:
    from janus_bench.contract import Capabilities


WORDS = {"uses_labels": "uses labels or test flows"}  # What a field of ``Capabilities`` is called before people.


def detectors(output: ListFormat = "table") -> None:
    """Every registered detector; one that cannot be loaded is a line with the reason."""
    rows = []
    for name, entry in plugins.detector_entries().items():
        origin = entry.dist.name if entry.dist is not None else "?"
        try:
            capabilities = plugins.load_detector(name).capabilities
        except JanusBenchError as error:
            rows.append((name, origin, "broken", "", "", str(error)))
            continue
        rows.append((name, origin, *_declared(capabilities), capabilities.source))
    for name, preset in plugins.presets().items():
        rows.append((name, "preset", *_of_preset(preset), f"{preset.detector} with {_assignments(preset.params)}"))
    rows += [(broken.name, broken.origin, "broken", "", "", broken.error) for broken in plugins.colliding_detectors()]
    console.table(("detector", "from", "provenance", "inputs", "groups", "source"), rows, output)
    families = ", ".join(f"{name}:…" for name in plugins.detector_families())
    console.say(f"and families, of which any member can be named: {families} (docs: writing-a-detector)")
    console.say_broken_plugins()


def _declared(capabilities: "Capabilities") -> tuple[str, str, str]:
    """Provenance, inputs and groups."""
    return capabilities.provenance, ", ".join(sorted(capabilities.inputs)), ", ".join(sorted(capabilities.groups))


def _of_preset(preset: plugins.Preset) -> tuple[str, str, str]:
    """Provenance and inputs of a preset, which no group brings, or what is wrong with it."""
    try:
        loaded = plugins.load_detector(preset.name)
        capabilities = loaded.declaring(build_params(loaded.name, loaded.params_type, preset.params)).capabilities
    except JanusBenchError as error:
        return "broken", str(error), ""
    return *_declared(capabilities)[:2], ""


def _assignments(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in params.items())


def detector(
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=completing.detector,
            help="Name or name[parameter=value,…]; ./file.py; or one of a family, such as pyod:ECOD.",
        ),
    ],
    output: ListFormat = "table",
) -> None:
    """What a detector declares: inputs, scores, parameters with their defaults."""
    name, given = parse_request(name)  # as in ``janus[use_flow_token=false]``
    loaded = plugins.load_detector(name)
    params = build_params(loaded.name, loaded.params_type, loaded.preset, given)
    loaded = loaded.declaring(params)
    fields: dict[str, Any] = {"detector": name}
    for key, value in dataclasses.asdict(loaded.capabilities).items():
        fields[key] = (
            ", ".join(sorted(value))
            if isinstance(value, frozenset)
            else ", ".join(value)
            if isinstance(value, tuple)
            else value
        )
    fields["target flows"] = _target_flows(loaded.capabilities)
    if params is not None:
        fields["parameters"] = _assignments(dataclasses.asdict(params))
    for profile, overrides in loaded.profiles.items():
        fields[f"profile {profile}"] = _assignments(overrides) or "the defaults"
    if output != "json":
        fields["aggregator"] = fields["aggregator"] or "none: there is one score"
        fields["exemptions"] = "; ".join(f"{name}: {why}" for name, why in loaded.capabilities.exemptions.items())
        fields = {WORDS.get(key, key): value for key, value in fields.items() if value != ""}
    console.document(fields, output)


def _target_flows(capabilities: "Capabilities") -> str:
    """What becomes of the target's benign calibration flows in each regime, calibrated as the built-in protocols do."""
    from protocols.roles import use_of_target

    lines = []
    for regime in ("transfer", "pooled", "control") if capabilities.learns else ("transfer",):
        own = capabilities.target_use, capabilities.aggregator or "identity"
        lines.append(f"{regime}: {' + '.join(use_of_target(regime, ProtocolSpec.calibration, *own)) or 'nothing'}")
    return "; ".join(lines)


def check(
    target: Annotated[
        str,
        typer.Argument(
            autocompletion=completing.detector,
            help=(
                "Registered name, ./file.py, module:Class, or one of a family: exec:./program.toml, pyod:ECOD, "
                "sklearn:module.Class."
            ),
        ),
    ],
    output: ListFormat = "table",
) -> None:
    """Hold a detector to the contract: shapes, orientation, invariances, determinism, save and load.  Exit code 1 if a
    check fails."""
    from harness.checking import check_apart
    from harness.cli.progress import PreparationProgress

    with PreparationProgress() as progress:
        results, printed = check_apart(target, lambda name, share: progress(f"checking {target}: {name}", share))
    if printed.strip():
        for line in (f"{target} printed:", *printed.rstrip().splitlines()):
            console.say(line)
    console.table(
        ("check", "status", "message"), [(result.name, result.status, result.message) for result in results], output
    )
    number = Counter(result.status for result in results)
    failed = [result.name for result in results if result.status == "failed"]
    console.say(
        f"{target}: {number['passed']} of {number['passed'] + len(failed)} checks passed"
        + "".join(f"; {number[status]} {status}" for status in ("exempt", "not made") if number[status])
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    raise typer.Exit(1 if failed else 0)


def protocols(output: ListFormat = "table") -> None:
    """Every protocol."""
    rows = [
        (spec.name, ", ".join(spec.regimes), spec.calibration, spec.summary) for spec in plugins.protocols().values()
    ]
    console.table(("protocol", "regimes", "calibration", "summary"), rows, output)
    console.say_broken_plugins()


def protocol(
    name: Annotated[str, typer.Argument(autocompletion=completing.protocol, help="See `janus-bench protocol list`.")],
    output: ListFormat = "table",
) -> None:
    """What a protocol asks for."""
    found = plugins.protocols()
    if name not in found:
        raise unknown("protocol", name, found)
    spec = found[name]
    pairs = spec.cells(("A", "B", "C"))
    fields = {
        "protocol": spec.name,
        "summary": spec.summary,
        "regimes": ", ".join(spec.regimes),
        "calibration": spec.calibration,
        "fewest datasets": spec.minimum,
        "split": spec.split or "the one asked for (--split)",
        "table": spec.table or "leaderboard",
        "variants": ", ".join(variant.name for variant in spec.variants if variant.name) or "none",
        "detectors": ", ".join(spec.detectors) or "those asked for",
        "cells of datasets A, B, C": ", ".join(f"{source}→{target}" for source, target in pairs),
    }
    console.document(fields, output)


def metrics(output: ListFormat = "table") -> None:
    """Every metric."""
    rows = [
        (metric.name, "higher" if metric.higher_is_better else "lower", metric.summary)
        for metric in plugins.metrics().values()
    ]
    console.table(("metric", "better", "summary"), rows, output)
    console.say_broken_plugins()


def renderers(output: ListFormat = "table") -> None:
    """Every leaderboard format."""
    console.table(
        ("renderer", "summary"),
        [(renderer.name, renderer.summary) for renderer in plugins.renderers().values()],
        output,
    )
    console.say_broken_plugins()
