"""``janus-bench``: its commands, each in the module that does its work; what is slow to import waits there until it is
called."""

import gc
import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated

import typer

from harness.cli import (
    audit,
    catalogue,
    compare,
    console,
    data,
    doctor,
    figures,
    folders,
    leaderboard,
    new,
    operate,
    paper,
    prepare,
    published,
    report,
    run,
    runs,
    work,
)
from harness.cli.options import examples
from janus_bench.errors import JanusBenchError
from janus_bench.files import why

app = typer.Typer(
    name="janus-bench",
    help="Compare network anomaly detectors fairly: captures of real traffic in, a leaderboard out.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=examples("run --protocol cross --detectors janus,iforest", "data add campus ./captures", "leaderboard"),
)
GROUPS = {
    "data": "Datasets: add a folder of labelled captures, remove, list, inspect, audit, verify.",
    "detector": "Detectors: list, inspect, check one against the contract, begin a new one.",
    "runs": "Runs of a results folder: list, read the log of a fit, see why one would be run again, clear away.",
    "protocol": "Protocols: which source is scored on which target.",
    "metric": "Metrics that a leaderboard can show.",
    "renderer": "Formats that a leaderboard can be written in.",
    "figure": "Figures from stored scores: SVG, PDF or PNG.",
}
COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "run": (
        run.run,
        examples(
            "run --protocol cross --detectors janus,shafir",
            "run --detectors 'janus[sigma=0.6],iforest' --datasets a,b --seeds 42 --dry-run",
            "run --protocol within --timeout 30m --max-memory 8G --format json > board.json",
        ),
    ),
    "doctor": (doctor.doctor, ""),
    "work": (work.work, examples("work ./tasks")),
    "fit": (
        operate.fit,
        examples("fit iforest ./captures -o office.model", "fit janus-plus mon.pcap tue.pcap -o office.model"),
    ),
    "score": (
        operate.score,
        examples(
            "score office.model tonight.pcap",
            "score office.model ./captures --threshold fpr=0.001 --format eve -o alerts.json",
            "score office.model - --format jsonl < arriving.pcap",
        ),
    ),
    "recalibrate": (operate.recalibrate, examples("recalibrate office.model ./captures -o branch.model")),
    "leaderboard": (
        leaderboard.leaderboard,
        examples("leaderboard", "leaderboard --protocol cross --metric macro_auroc --format markdown -o table.md"),
    ),
    "compare": (
        compare.compare,
        examples("compare runs --detectors janus,iforest", "compare runs --control", "compare runs_before runs_after"),
    ),
    "merge": (folders.merge, examples("merge runs_a runs_b -o runs")),
    "export": (folders.export, examples("export --runs runs -o runs.tar.zst")),
    "report": (report.report, examples("report", "report --runs runs -o report.html")),
    "paper": (paper.paper, examples("paper runs -o paper")),
    "published": (published.published, examples("published", "published --runs runs --format markdown")),
    "data add": (
        data.add,
        examples(
            "data add campus ./captures",
            "data add campus ./captures --replace --benign Normal,0 --licence 'CC BY 4.0'",
            "data add nf_unsw NF-UNSW-NB15-v2.csv --layout netflow_v2",
        ),
    ),
    "data remove": (data.remove, examples("data remove campus")),
    "data prepare": (
        prepare.prepare,
        examples(
            "data prepare cicids2017 --captures ./pcaps --labels ./TrafficLabelling",
            "data prepare 'cicids2017[labels=corrected]' --captures ./pcaps",
            "data prepare 'nf_v2[which=ton_iot]' --labels ./netflow --as nf_ton_iot",
        ),
    ),
    "data export": (
        data.export,
        examples("data export campus -o ./campus", "data export campus --layout full_store -o ./campus"),
    ),
    "data list": (data.show_list, ""),
    "data info": (data.show_info, ""),
    "data audit": (
        audit.audit,
        examples("data audit campus", "data audit campus plant -o audit.html", "data audit campus --format json"),
    ),
    "data verify": (audit.verify, examples("data verify campus")),
    "detector list": (catalogue.detectors, ""),
    "detector info": (catalogue.detector, ""),
    "detector check": (
        catalogue.check,
        examples("detector check iforest", "detector check ./mine.py", "detector check my_package.module:MyDetector"),
    ),
    "detector new": (new.new, examples("detector new my-detector")),
    "runs gc": (runs.gc, examples("runs gc --dry-run", "runs gc --runs runs")),
    "runs list": (runs.show_list, examples("runs list --status error")),
    "runs verify": (runs.verify, examples("runs verify --set-aside")),
    "runs log": (runs.log, examples("runs log 3f2a")),
    "runs why": (runs.why, examples("runs why 3f2a", "runs why 3f2a --detector ./mine.py")),
    "protocol list": (catalogue.protocols, ""),
    "protocol info": (catalogue.protocol, ""),
    "metric list": (catalogue.metrics, ""),
    "renderer list": (catalogue.renderers, ""),
    "figure heatmap": (
        figures.heatmap,
        examples(
            "figure heatmap --detector knn -o cross.pdf",
            "figure heatmap --detector janus --first column:terminal_norm -o repair.pdf",
        ),
    ),
    "figure forest": (figures.forest, examples("figure forest -o forest.pdf")),
    "figure roc": (figures.roc, examples("figure roc --detectors janus,iforest --source a --target b -o roc.svg")),
    "figure density": (figures.density, examples("figure density --detector janus -o scores.pdf")),
    "figure ablation": (figures.ablation, examples("figure ablation --reference janus -o ablation.pdf")),
    "figure drift": (figures.drift, examples("figure drift --detectors iforest,knn -o drift.pdf")),
}
groups = {name: typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None) for name, text in GROUPS.items()}
for name, sub in groups.items():
    app.add_typer(sub, name=name)
for words, (function, epilog) in COMMANDS.items():
    name, _, command = words.rpartition(" ")
    (groups[name] if name else app).command(command, epilog=epilog or None)(function)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        console.out(f"janus-bench {version('janus-bench')}")
        raise typer.Exit


@app.callback()
def before_every_command(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Options that belong to no command."""


AGAIN_S = 0.05


def interrupt_again(lost: "sys.UnraisableHookArgs") -> None:
    """Where Python can raise nothing, as while an object is removed, it prints an interrupt and goes on: this one comes
    again in a moment."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        to = threading.main_thread().ident
        threading.Timer(AGAIN_S, signal.pthread_kill, (to, signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)


def main() -> None:
    """Entry point: an error that the user can act on is one line on standard error and its exit code, never a
    traceback."""
    console.never_fail_to_encode()
    # what a command makes lives to its end: looking through it all again and again was a quarter of a large plan's time
    gc.set_threshold(100_000)
    # a polite kill is an interrupt: rows are written, workers ended, and nothing half done stays
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.unraisablehook = interrupt_again
    try:
        app()
    except JanusBenchError as error:
        console.say(f"janus-bench: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):  # who presses Ctrl-C twice has been heard
            signal.signal(number, signal.SIG_IGN)
        console.say("janus-bench: interrupted")
        sys.exit(130)
    except MemoryError:
        console.say(
            f"janus-bench: not enough memory for this; run it again where there is more: {console.retry_command()}"
        )
        sys.exit(1)
    except OSError as error:
        where = error.filename or "the operating system"
        console.say(f"janus-bench: {where}: {why(error)}; run it again when that is mended: {console.retry_command()}")
        sys.exit(1)
