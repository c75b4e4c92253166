"""The reference page, made of what is installed: ``python -m tests.reference`` writes ``docs/reference.md``.

What cannot be read from the code, the meaning of statuses, exit codes and variables, stands here; a test compares each
list with the code, and the page with what would be written.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

from harness.cli.main import COMMANDS, app
from janus_bench import plugins
from janus_bench.conformance.checks import CHECKS, name_of
from janus_bench.extensions import HookSpecs
from protocols.aggregators import AGGREGATORS
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "reference.md"

STATUSES = {
    "ok": "scores are there",
    "error": "the detector, or the staging of its flows, raised an exception: the log has the traceback",
    "timeout": "still at work after `--timeout`",
    "oom": "more memory than `--max-memory`, or an allocation that failed",
    "killed": "the process was ended by a signal from outside, or by a crash",
    "invalid_output": "scores that are missing, not finite, of another shape, or of other flows",
    "interrupted": "ended by the user; run again",
    "skipped": "cannot be: too few flows for a part, an input that the dataset lacks; the reason says which",
    "missing": "was asked for and has no row yet (never stored)",
}
EXIT_CODES = {
    0: "all went well",
    1: "a detector, a check or some runs failed; nothing else is wrong",
    2: "the command, a name or a parameter is wrong",
    3: "data, results or a model are missing or damaged",
    4: "a plugin cannot be loaded, or breaks the contract",
    130: "interrupted; what was finished is kept",
}
VARIABLES = {
    "JANUS_BENCH_HOME": "where datasets live; default: the platform's data folder",
    "NUMBA_CACHE_DIR": "where compiled kernels are kept, if the place beside the sources cannot be written",
    "SBATCH_PARTITION": "of Slurm's own, which all hold for every job: whose cores `--executor slurm:DIR` counts",
    "NO_COLOR": "set to anything: no colours",
    "COLUMNS": "width of tables, where it is not a terminal's",
}
EXECUTOR_MEANINGS = {
    "local": "a child process on this machine, isolated and limited",
    "in-process": "this process, for a debugger: neither isolated nor limited",
    "ray": "`ray` or `ray:ADDRESS`: on a Ray cluster ([past one machine](scaling.md))",
    "slurm": "`slurm:DIR`: as jobs of Slurm, through a folder that all nodes share ([past one machine](scaling.md))",
    "folder": "`folder:DIR`: written there for somebody else, and collected ([handing out](handing-out.md))",
}


def commands(group: Any = None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Whole name of a command → the command."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def page() -> str:
    """The whole of ``docs/reference.md``."""
    parts = [
        "# Reference",
        "",
        "Made of the code by `python -m tests.reference`: every command, option, variable, status, exit code, "
        "protocol, metric, detector, hook and check.",
        "",
        *_commands(),
        *_section("Variables", ("variable", "what it is"), [*VARIABLES.items(), *_option_variables()]),
        *_section("Executors", ("executor", "where a fit runs"), EXECUTOR_MEANINGS.items()),
        *_section("Statuses of a run", ("status", "what happened"), STATUSES.items()),
        *_section("Exit codes", ("code", "what it means"), EXIT_CODES.items()),
        *_section(
            "Protocols",
            ("protocol", "regimes", "what it asks for"),
            [(each.name, ", ".join(each.regimes), each.summary) for each in plugins.protocols().values()],
        ),
        *_section(
            "Metrics",
            ("metric", "better", "what it is"),
            [
                (each.name, "higher" if each.higher_is_better else "lower", each.summary)
                for each in plugins.metrics().values()
            ],
            "Every one also on flows of two or more packets (`auroc@2+`) and as the mean over sites (`auroc@site`).",
        ),
        *_section(
            "Aggregators",
            ("aggregator", "what it is"),
            [(name, aggregator.summary) for name, aggregator in AGGREGATORS.items()],
        ),
        *_detectors(),
        *_section(
            "Formats of a leaderboard",
            ("format", "what it is"),
            [(each.name, each.summary) for each in plugins.renderers().values()],
        ),
        *_section("Hooks of plugins", ("hook", "what it is for"), [(name, _first(each)) for name, each in _hooks()]),
        *_section(
            "Checks of a detector",
            ("check", "what it holds the detector to"),
            [(name_of(check), _whole(check)) for check in CHECKS],
            "What `janus-bench detector check` and `janus_bench.testing` run. One that cannot hold is declared with "
            "its reason in `Capabilities.exemptions`, and is then reported and not run.",
        ),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[object]], said: str = "") -> list[str]:
    return [f"## {title}", "", *([said, ""] if said else []), *table(head, rows), ""]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The first column as code."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for first, *others in rows:
        lines.append(f"| `{first}` | {' | '.join(_cell(each) for each in others)} |")
    return lines


def _cell(value: object) -> str:
    return " ".join(str(value).replace("``", "`").replace("|", "\\|").split())


def _first(described: Any) -> str:
    return _whole(described).split("\n\n")[0]


def _whole(described: Any) -> str:
    return inspect.getdoc(described) or ""


def _commands() -> Iterator[str]:
    yield "## Commands"
    yield ""
    for name, command in commands():
        yield f"### {name}"
        yield ""
        function = COMMANDS[name].function()
        hints = get_type_hints(function)
        text, _, codes = _whole(function).partition("Exit code:")
        yield " ".join(text.split()) + (f" Exit code: {' '.join(codes.split())}" if codes else "")
        yield ""
        rows = [(_names(each), _said(each, hints[each.name])) for each in command.params if each.name != "help"]
        if rows:
            yield from table(("argument or option", "what it is"), rows)
            yield ""


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return ", ".join((*parameter.opts, *parameter.secondary_opts))


def _said(parameter: Any, hint: Any) -> str:
    text = re.sub(r"\s+", " ", getattr(parameter, "help", None) or "")
    default = parameter.default
    shown = default if isinstance(default, str | int | float | Path) and not isinstance(default, bool) else ""
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    more = [
        " or ".join(f"`{choice}`" for choice in choices),
        f"default `{shown}`" if shown != "" else "",
        f"`{parameter.envvar}`" if getattr(parameter, "envvar", None) else "",
    ]
    inside = "; ".join(filter(None, more))
    return f"{text} ({inside})" if text and inside else text or inside


def _option_variables() -> list[tuple[str, str]]:
    """Variables that stand for an option."""
    found: dict[str, list[str]] = {}
    for name, command in commands():
        for parameter in command.params:
            if envvar := getattr(parameter, "envvar", None):
                found.setdefault(envvar, []).append(f"`{name} {parameter.opts[0]}`")
    return [(variable, f"stands for {', '.join(names)}") for variable, names in sorted(found.items())]


def _hooks() -> list[tuple[str, Any]]:
    return [(name, each) for name, each in vars(HookSpecs).items() if name.startswith("janus_bench_")]


def _detectors() -> Iterator[str]:
    own, _ = plugins.load_detectors()
    built_in = [each for each in own if each.name in _built_in()]
    rows = []
    for each in built_in:
        capabilities = each.capabilities
        given = "" if each.params_type is None else _defaults(each.params_type)
        inputs = ", ".join(sorted(capabilities.inputs))
        rows.append((each.name, inputs, capabilities.provenance, capabilities.source, given))
    yield from _section(
        "Detectors",
        ("detector", "inputs", "provenance", "source", "parameters and defaults"),
        rows,
        "Families: " + ", ".join(f"`{name}:`" for name in plugins.detector_families()) + ".",
    )
    presets = [
        (preset.name, f"`{preset.detector}`", _assigned(preset.params))
        for preset in plugins.presets().values()
        if preset.detector in _built_in()
    ]
    yield from _section("Presets", ("preset", "detector", "parameters"), presets)


def _built_in() -> set[str]:
    """Not those that the packages of somebody's environment bring."""
    return {
        name
        for name, entry in plugins.detector_entries().items()
        if entry.dist is not None and entry.dist.name == plugins.BUILT_IN
    }


def _defaults(params_type: Any) -> str:
    """A parameter without a default is named alone."""
    fields = dataclasses.fields(params_type)
    given = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    needed = [f"`{field.name}`" for field in fields if field.default is dataclasses.MISSING]
    return ", ".join(filter(None, (*needed, _assigned(given))))


def _assigned(params: Mapping[str, object]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in params.items())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
