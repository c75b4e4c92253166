"""``janus-bench``: the commands, each in a module that is imported only when it is called."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from janus_bench.errors import JanusBenchError


def examples(*commands: str) -> str:
    """An epilog that keeps its line breaks."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


app = typer.Typer(
    name="janus-bench",
    help="Compare network anomaly detectors fairly: captures of real traffic in, a leaderboard out.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    epilog=examples(
        "janus-bench run --protocol cross --detectors janus,iforest", "janus-bench data add campus ./captures", "janus-bench leaderboard"
    ),
)
data_app = typer.Typer(help="Datasets: add a folder of labelled captures, list, inspect, audit, verify.", no_args_is_help=True, rich_markup_mode=None)
detector_app = typer.Typer(help="Detectors: list, inspect, check one against the contract.", no_args_is_help=True, rich_markup_mode=None)
protocol_app = typer.Typer(help="Protocols: which source is scored on which target.", no_args_is_help=True, rich_markup_mode=None)
metric_app = typer.Typer(help="Metrics that a leaderboard can show.", no_args_is_help=True, rich_markup_mode=None)
renderer_app = typer.Typer(help="Formats that a leaderboard can be written in.", no_args_is_help=True, rich_markup_mode=None)
figure_app = typer.Typer(help="Figures from stored scores: SVG, PDF or PNG.", no_args_is_help=True, rich_markup_mode=None)
GROUPS = {
    "data": data_app,
    "detector": detector_app,
    "protocol": protocol_app,
    "metric": metric_app,
    "renderer": renderer_app,
    "figure": figure_app,
}
for name, sub in GROUPS.items():
    app.add_typer(sub, name=name)

Runs = Annotated[Path, typer.Option("--runs", envvar="JANUS_BENCH_RUNS", help="Folder of results.")]
ListFormat = Annotated[Literal["table", "json"], typer.Option("--format", help="Table for people, JSON for programs.")]


@app.command(
    epilog=examples(
        "janus-bench run --protocol cross --detectors janus,shafir",
        "janus-bench run --detectors 'janus[sigma=0.6],iforest' --datasets a,b --seeds 42 --dry-run",
        "janus-bench run --protocol within --timeout 30m --max-memory 8G --format json > board.json",
    )
)
def run(
    protocol: Annotated[str, typer.Option(envvar="JANUS_BENCH_PROTOCOL", help="See `janus-bench protocol list`.")] = "cross",
    detectors: Annotated[
        str,
        typer.Option(
            envvar="JANUS_BENCH_DETECTORS",
            help="Comma-separated; name or name[parameter=value,…]; `all` for every one installed.  Default: the protocol's own, or all.",
        ),
    ] = "",
    datasets: Annotated[
        str, typer.Option(envvar="JANUS_BENCH_DATASETS", help="Comma-separated; default: all added, or the synthetic suite if there are none.")
    ] = "",
    seeds: Annotated[str, typer.Option(envvar="JANUS_BENCH_SEEDS", help="Comma-separated whole numbers.")] = "42,43,44",
    profile: Annotated[
        Literal["quick", "paper"], typer.Option(envvar="JANUS_BENCH_PROFILE", help="quick: capped parts, small models; paper: full size.")
    ] = "quick",
    split: Annotated[
        Literal["grouped", "random"], typer.Option(envvar="JANUS_BENCH_SPLIT", help="random only to compare with the literature: it rewards memory.")
    ] = "grouped",
    runs: Runs = Path("runs"),
    jobs: Annotated[int | None, typer.Option(envvar="JANUS_BENCH_JOBS", min=1, help="Fits at a time; default: one per core, at most 4.")] = None,
    timeout: Annotated[str, typer.Option(envvar="JANUS_BENCH_TIMEOUT", help="Longest time for one fit with its scoring: 90s, 30m, 2h.")] = "2h",
    max_memory: Annotated[str, typer.Option(envvar="JANUS_BENCH_MAX_MEMORY", help="Most resident memory for one fit: 500M, 8G.")] = "",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(envvar="JANUS_BENCH_DEVICE", help="Where models run.")] = "auto",
    params: Annotated[
        Path | None,
        typer.Option(envvar="JANUS_BENCH_PARAMS", help="TOML file with a table of parameters per detector; brackets on the command line win."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run, and the size of every part, and stop.")] = False,
    output: Annotated[str, typer.Option("--format", help="How to print the leaderboard: see `janus-bench renderer list`.")] = "table",
) -> None:
    """Fit every detector on every source, score every target, and print the leaderboard.

    Runs that are already there with status ok are not run again.

    Exit code: 0 all ok, 1 some runs failed, 2 usage, 3 data, 4 plugin, 130 interrupted.
    """
    from harness.cli import run as command

    request = command.Request(
        protocol, detectors, datasets, seeds, profile, split, runs, jobs, timeout, max_memory, device, params, dry_run, output, retry_command()
    )
    raise typer.Exit(command.execute(request))


@app.command(
    epilog="Examples:  janus-bench leaderboard    janus-bench leaderboard --protocol cross --metric macro_auroc --format markdown -o table.md"
)
def leaderboard(
    runs: Runs = Path("runs"),
    protocol: Annotated[str, typer.Option(help="Default: the protocol that was run last.")] = "",
    metric: Annotated[str, typer.Option(help="See `janus-bench metric list`; add @2+ for flows of two or more packets.")] = "auroc",
    aggregator: Annotated[
        str, typer.Option(help="Make the scalar another way: oas[standardize=zscore], knn, max_z, mahalanobis, ledoit_wolf, column:NAME.")
    ] = "",
    output: Annotated[str, typer.Option("--format", help="See `janus-bench renderer list`.")] = "table",
    file: Annotated[Path | None, typer.Option("-o", "--output", help="Write to a file.")] = None,
    table: Annotated[
        str, typer.Option(help="leaderboard, thresholds, alerts, families, stability, ablation or mechanism; default: the protocol's.")
    ] = "",
    intervals: Annotated[
        bool | None, typer.Option("--intervals/--no-intervals", help="95 % intervals and tie groups; default: for AUROC. Computed once, then kept.")
    ] = None,
    flows_per_day: Annotated[int | None, typer.Option(min=1, help="For --table alerts; default: 1 000 000.")] = None,
    base_rates: Annotated[str, typer.Option(help="For --table alerts: shares of attacks among all flows; default: 0.01,0.001,0.0001.")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Redraw while a run fills the folder; terminal only.")] = False,
) -> None:
    """Print the leaderboard of a results folder.  Nothing is run; every number comes from stored scores."""
    if watch:
        from harness.cli.watch import watch as redraw

        redraw(runs, protocol, metric, aggregator or None)
        return
    from harness.cli import leaderboard as command

    command.execute(runs, protocol, metric, aggregator or None, output, file, command.Options(table, intervals, flows_per_day, base_rates))


@app.command(
    epilog=examples(
        "janus-bench compare runs --detectors janus,iforest", "janus-bench compare runs --control", "janus-bench compare runs_before runs_after"
    )
)
def compare(
    runs_a: Annotated[Path, typer.Argument(help="Folder of results.")],
    runs_b: Annotated[Path | None, typer.Argument(help="A second one; without it, two detectors of the first.")] = None,
    protocol: Annotated[str, typer.Option(help="Default: the protocol that was run last.")] = "",
    detectors: Annotated[str, typer.Option(help="Comma-separated: which to compare.")] = "",
    control: Annotated[bool, typer.Option("--control", help="Each detector against its own target-only control.")] = False,
    metric: Annotated[str, typer.Option(help="See `janus-bench metric list`; add @2+ for flows of two or more packets.")] = "auroc",
    output: ListFormat = "table",
) -> None:
    """Differences between detectors on the same flows, with intervals.  Nothing is run."""
    from harness.cli import compare as command

    command.execute(runs_a, runs_b, protocol, detectors, output, metric, control)


@app.command(epilog=examples("janus-bench merge runs_a runs_b -o runs"))
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Two or more folders of results.")],
    destination: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")],
) -> None:
    """Make one folder of results out of several; what they disagree on is refused."""
    from harness.cli import merge as command

    command.execute(folders, destination)


@app.command(epilog=examples("janus-bench export --runs runs -o runs.tar.zst"))
def export(
    file: Annotated[Path, typer.Option("-o", "--output", help="Archive to write: .tar.zst or .tar.gz.")],
    runs: Runs = Path("runs"),
) -> None:
    """Write a folder of results as one archive with checksums; the same results give the same bytes."""
    from harness.cli import export as command

    command.execute(runs, file)


@data_app.command("add", epilog=examples("janus-bench data add campus ./captures"))
def data_add(
    name: Annotated[str, typer.Argument(help="Name for the dataset: letters, digits, _ and -.")],
    folder: Annotated[
        Path, typer.Argument(help="Folder with captures and labels.csv (file, ts_start, 5-tuple, label; optional ts_end, family, source).")
    ],
    idle_timeout: Annotated[float, typer.Option(help="Seconds without a packet that end a flow.")] = 120.0,
    active_timeout: Annotated[float | None, typer.Option(help="Seconds after which a flow is cut though it goes on.")] = None,
    tcp_close: Annotated[
        Literal["idle", "cicflowmeter"], typer.Option(help="idle: only timeouts end a flow; cicflowmeter: its first FIN too.")
    ] = "idle",
    remove_mirrored: Annotated[bool, typer.Option("--remove-mirrored", help="Leave out the second copy of packets captured twice.")] = False,
    stream: Annotated[
        bool,
        typer.Option("--stream/--no-stream", help="Keep the packet stream, 70 bytes a packet, for detectors of whole captures (kitsune)."),
    ] = True,
) -> None:
    """Extract the flows of a folder of captures, match them with its labels.csv, and keep them as a dataset."""
    from datasets_registry.capture.rules import FlowRules
    from harness.cli import data as command

    command.add(name, folder, FlowRules(idle_timeout, active_timeout, tcp_close, remove_mirrored), stream=stream)


@data_app.command(
    "prepare",
    epilog=examples(
        "janus-bench data prepare cicids2017 --captures ./pcaps --labels ./TrafficLabelling",
        "janus-bench data prepare 'cicids2017[labels=corrected]' --captures ./pcaps",
    ),
)
def data_prepare(
    dataset: Annotated[str, typer.Argument(help="A published dataset: cicids2017, cicddos2019, ciciot2023, iscxtor2016; options in brackets.")],
    captures: Annotated[Path, typer.Option(help="Folder of the published captures.")],
    labels: Annotated[Path | None, typer.Option(help="Folder of the published label files, where the dataset has any.")] = None,
    time_offset: Annotated[
        float | None, typer.Option(help="Seconds to subtract from the labels' times where the dataset's own time zone does not hold.")
    ] = None,
    name: Annotated[str, typer.Option("--as", help="Name of the dataset that is made; default: that of the published one.")] = "",
    stream: Annotated[
        bool,
        typer.Option("--stream/--no-stream", help="Keep the packet stream, 70 bytes a packet, for detectors of whole captures (kitsune)."),
    ] = False,
) -> None:
    """Extract, match labels, store and audit one of the published datasets."""
    from harness.cli import prepare as command

    command.execute(command.Request(dataset, captures, labels, time_offset, name, stream))


@data_app.command(
    "export", epilog=examples("janus-bench data export campus -o ./campus", "janus-bench data export campus --layout full_store -o ./campus")
)
def data_export(
    name: Annotated[str, typer.Argument(help="See `janus-bench data list`.")],
    folder: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")],
    layout: Annotated[
        Literal["original", "full_store"], typer.Option(help="original: one packets.npz; full_store: numbered ones, for datasets larger than memory.")
    ] = "original",
) -> None:
    """Write a dataset as dense arrays and tables that others read: packets.npz (flows, 64, 9), flows.parquet with labels, flow_features.parquet."""
    from harness.cli import data as command

    command.export(name, layout, folder)


@data_app.command("list")
def data_list(output: ListFormat = "table") -> None:
    """Datasets that are there, and those that a plugin can make."""
    from harness.cli import data as command

    command.show_list(output)


@data_app.command("info")
def data_info(name: Annotated[str, typer.Argument()], output: ListFormat = "table") -> None:
    """Counts per family, dropped packets and the label match of a dataset."""
    from harness.cli import data as command

    command.show_info(name, output)


@data_app.command("audit", epilog=examples("janus-bench data audit campus", "janus-bench data audit campus --format json"))
def data_audit(name: Annotated[str, typer.Argument(help="See `janus-bench data list`.")], output: ListFormat = "table") -> None:
    """What besides attacks tells a dataset's attack flows from its benign flows, with warnings in plain language."""
    from harness.cli import audit as command

    command.audit(name, output)


@data_app.command("verify", epilog=examples("janus-bench data verify campus"))
def data_verify(name: Annotated[str, typer.Argument(help="See `janus-bench data list`.")], output: ListFormat = "table") -> None:
    """Check a dataset's files against their checksums, and their contents against each other.  Exit code 3 if one is damaged."""
    from harness.cli import audit as command

    command.verify(name, output)


@detector_app.command("list")
def detector_list(output: ListFormat = "table") -> None:
    """Every registered detector; one that cannot be loaded is a line with the reason."""
    from harness.cli import catalogue as command

    command.detectors(output)


@detector_app.command("info")
def detector_info(name: Annotated[str, typer.Argument()], output: ListFormat = "table") -> None:
    """What a detector declares: inputs, scores, parameters with their defaults."""
    from harness.cli import catalogue as command

    command.detector(name, output)


@detector_app.command("check", epilog=examples("janus-bench detector check iforest", "janus-bench detector check my_package.module:MyDetector"))
def detector_check(target: Annotated[str, typer.Argument(help="Registered name, or module:Class.")], output: ListFormat = "table") -> None:
    """Hold a detector to the contract: shapes, orientation, invariances, determinism, save and load.  Exit code 1 if a check fails."""
    from harness.cli import catalogue as command

    raise typer.Exit(command.check(target, output))


@protocol_app.command("list")
def protocol_list(output: ListFormat = "table") -> None:
    """Every protocol."""
    from harness.cli import catalogue as command

    command.protocols(output)


@protocol_app.command("info")
def protocol_info(name: Annotated[str, typer.Argument()], output: ListFormat = "table") -> None:
    """What a protocol asks for."""
    from harness.cli import catalogue as command

    command.protocol(name, output)


@metric_app.command("list")
def metric_list(output: ListFormat = "table") -> None:
    """Every metric."""
    from harness.cli import catalogue as command

    command.metrics(output)


@renderer_app.command("list")
def renderer_list(output: ListFormat = "table") -> None:
    """Every leaderboard format."""
    from harness.cli import catalogue as command

    command.renderers(output)


@app.command(epilog=examples("janus-bench report", "janus-bench report --runs runs -o report.html"))
def report(
    runs: Runs = Path("runs"),
    protocol: Annotated[str, typer.Option(help="Default: the protocol that was run last.")] = "",
    file: Annotated[Path, typer.Option("-o", "--output", help="The page to write.")] = Path("report.html"),
) -> None:
    """Write one self-contained HTML page: leaderboard, matrices, curves, families, alerts a day, audits, costs, provenance."""
    from harness.cli import report as command

    command.execute(runs, protocol, file)


@app.command(epilog=examples("janus-bench published", "janus-bench published --runs runs --format markdown"))
def published(
    runs: Annotated[Path | None, typer.Option("--runs", help="Show measured rows of this results folder beside them.")] = None,
    protocol: Annotated[str, typer.Option(help="Of the results folder; default: the protocol that was run last.")] = "",
    output: Annotated[Literal["table", "markdown", "latex", "json"], typer.Option("--format")] = "table",
) -> None:
    """Numbers of the literature with their protocols and footnotes, never ranked; methods that are not built are `reported only`."""
    from harness.cli import published as command

    command.execute(runs, protocol, output)


FigureFile = Annotated[Path, typer.Option("-o", "--output", help="File; its suffix is the format: .svg, .pdf or .png.")]
FigureProtocol = Annotated[str, typer.Option("--protocol", help="Default: the protocol that was run last.")]
FigureSeed = Annotated[int | None, typer.Option("--seed", help="Default: the first seed of the results.")]
FigureScalar = Annotated[str, typer.Option("--aggregator", help="Make the scalar another way: oas, column:NAME.")]


@figure_app.command("heatmap", epilog=examples("janus-bench figure heatmap --detector janus -o repair.pdf"))
def figure_heatmap(
    file: FigureFile,
    detector: Annotated[str, typer.Option(help="As the leaderboard names it.")],
    first: Annotated[str, typer.Option(help="Aggregator of the left matrix.")] = "column:terminal_norm",
    second: Annotated[str, typer.Option(help="Aggregator of the right matrix; default: the detector's own.")] = "",
    metric: Annotated[str, typer.Option(help="See `janus-bench metric list`.")] = "auroc",
    protocol: FigureProtocol = "",
    runs: Runs = Path("runs"),
) -> None:
    """Source × target matrices of two score choices, and their difference in colour."""
    from harness.cli import figures as command

    command.heatmap(command.Request(runs, protocol, file), detector, first, second, metric)


@figure_app.command("roc", epilog=examples("janus-bench figure roc --detectors janus,iforest --source a --target b -o roc.svg"))
def figure_roc(
    file: FigureFile,
    detectors: Annotated[str, typer.Option(help="Comma-separated, as the leaderboard names them.")],
    source: Annotated[str, typer.Option(help="Dataset that was fitted on.")],
    target: Annotated[str, typer.Option(help="Dataset that was scored.")],
    aggregator: FigureScalar = "",
    seed: FigureSeed = None,
    protocol: FigureProtocol = "",
    runs: Runs = Path("runs"),
) -> None:
    """ROC curves of one cell, with the low-FPR region enlarged."""
    from harness.cli import figures as command
    from janus_bench.params import split_requests

    command.roc(command.Request(runs, protocol, file), split_requests(detectors), source, target, aggregator, seed)


@figure_app.command("density", epilog=examples("janus-bench figure density --detector janus -o scores.pdf"))
def figure_density(
    file: FigureFile,
    detector: Annotated[str, typer.Option(help="As the leaderboard names it.")],
    aggregator: FigureScalar = "",
    seed: FigureSeed = None,
    protocol: FigureProtocol = "",
    runs: Runs = Path("runs"),
) -> None:
    """Densities of the scores of benign and attack flows, per source and target."""
    from harness.cli import figures as command

    command.density(command.Request(runs, protocol, file), detector, aggregator, seed)


@figure_app.command("ablation", epilog=examples("janus-bench figure ablation --reference janus -o ablation.pdf"))
def figure_ablation(
    file: FigureFile,
    reference: Annotated[
        str, typer.Option(help="Row that the others are compared with, default: the protocol's; or `published` for the literature's deltas.")
    ] = "",
    detectors: Annotated[str, typer.Option(help="Comma-separated; default: all others.")] = "",
    protocol: FigureProtocol = "",
    runs: Runs = Path("runs"),
) -> None:
    """Bars of the differences from a reference: within, cross mean, cross worst."""
    from harness.cli import figures as command
    from janus_bench.params import split_requests

    command.ablation(command.Request(runs, protocol, file), reference, split_requests(detectors))


def retry_command() -> str:
    """The command line as it was typed, to be copied."""
    return shlex.join(["janus-bench", *sys.argv[1:]])


def main() -> None:
    """Entry point: an error that the user can act on is one line on standard error and its exit code, never a traceback."""
    try:
        app()
    except JanusBenchError as error:
        print(f"janus-bench: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("janus-bench: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except OSError as error:
        where = error.filename or "the operating system"
        print(f"janus-bench: {where}: {error.strerror}; run it again when that is mended: {retry_command()}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
