"""``janus-bench``: its commands, each in the module that does its work; what is slow to import waits there until it is called."""

from __future__ import annotations

import sys

import typer

from harness.cli import audit, catalogue, compare, data, export, figures, leaderboard, merge, prepare, published, report, run
from harness.cli.console import retry_command
from harness.cli.options import examples
from janus_bench.errors import JanusBenchError

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

app.command(
    epilog=examples(
        "janus-bench run --protocol cross --detectors janus,shafir",
        "janus-bench run --detectors 'janus[sigma=0.6],iforest' --datasets a,b --seeds 42 --dry-run",
        "janus-bench run --protocol within --timeout 30m --max-memory 8G --format json > board.json",
    )
)(run.run)
app.command(
    epilog="Examples:  janus-bench leaderboard    janus-bench leaderboard --protocol cross --metric macro_auroc --format markdown -o table.md"
)(leaderboard.leaderboard)
app.command(
    epilog=examples(
        "janus-bench compare runs --detectors janus,iforest", "janus-bench compare runs --control", "janus-bench compare runs_before runs_after"
    )
)(compare.compare)
app.command(epilog=examples("janus-bench merge runs_a runs_b -o runs"))(merge.merge)
app.command(epilog=examples("janus-bench export --runs runs -o runs.tar.zst"))(export.export)
app.command(epilog=examples("janus-bench report", "janus-bench report --runs runs -o report.html"))(report.report)
app.command(epilog=examples("janus-bench published", "janus-bench published --runs runs --format markdown"))(published.published)

data_app.command("add", epilog=examples("janus-bench data add campus ./captures"))(data.add)
data_app.command(
    "prepare",
    epilog=examples(
        "janus-bench data prepare cicids2017 --captures ./pcaps --labels ./TrafficLabelling",
        "janus-bench data prepare 'cicids2017[labels=corrected]' --captures ./pcaps",
    ),
)(prepare.prepare)
data_app.command(
    "export", epilog=examples("janus-bench data export campus -o ./campus", "janus-bench data export campus --layout full_store -o ./campus")
)(data.export)
data_app.command("list")(data.show_list)
data_app.command("info")(data.show_info)
data_app.command("audit", epilog=examples("janus-bench data audit campus", "janus-bench data audit campus --format json"))(audit.audit)
data_app.command("verify", epilog=examples("janus-bench data verify campus"))(audit.verify)

detector_app.command("list")(catalogue.detectors)
detector_app.command("info")(catalogue.detector)
detector_app.command("check", epilog=examples("janus-bench detector check iforest", "janus-bench detector check my_package.module:MyDetector"))(
    catalogue.check
)
protocol_app.command("list")(catalogue.protocols)
protocol_app.command("info")(catalogue.protocol)
metric_app.command("list")(catalogue.metrics)
renderer_app.command("list")(catalogue.renderers)

figure_app.command("heatmap", epilog=examples("janus-bench figure heatmap --detector janus -o repair.pdf"))(figures.heatmap)
figure_app.command("roc", epilog=examples("janus-bench figure roc --detectors janus,iforest --source a --target b -o roc.svg"))(figures.roc)
figure_app.command("density", epilog=examples("janus-bench figure density --detector janus -o scores.pdf"))(figures.density)
figure_app.command("ablation", epilog=examples("janus-bench figure ablation --reference janus -o ablation.pdf"))(figures.ablation)


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
