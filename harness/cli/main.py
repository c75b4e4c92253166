"""``janus-bench``: its commands, each in the module that does its work, which is imported when it is asked for."""

import gc
import signal
import sys
import threading
from typing import Annotated

import typer

from harness.cli import console
from harness.cli.later import Later, group_of
from harness.cli.options import examples
from janus_bench.errors import JanusBenchError
from janus_bench.files import why
from janus_bench.quiet import ignore

GROUPS = {
    "data": "Datasets: add a folder of labelled captures, remove, list, inspect, audit, verify.",
    "detector": "Detectors: list, inspect, check one against the contract, begin a new one.",
    "runs": "Runs of a results folder: list, read the log of a fit, see why one would be run again, clear away.",
    "protocol": "Protocols: which source is scored on which target.",
    "metric": "Metrics that a leaderboard can show.",
    "renderer": "Formats that a leaderboard can be written in.",
    "figure": "Figures from stored scores: SVG, PDF or PNG.",
}
COMMANDS: dict[str, Later] = {
    "run": Later(
        "harness.cli.run:run",
        "Fit every detector on every source, score every target, and print the leaderboard.",
        examples(
            "run --protocol cross --detectors janus,shafir",
            "run --detectors 'janus[sigma=0.6],iforest' --datasets a,b --seeds 42 --dry-run",
            "run --protocol within --timeout 30m --max-memory 8G --format json > board.json",
        ),
    ),
    "doctor": Later(
        "harness.cli.doctor:doctor",
        "Look at the machine, its devices and memory, folders, versions, plugins and datasets, and say what to mend.",
    ),
    "work": Later(
        "harness.cli.work:work",
        "Fit and score what was handed out, and leave the scores beside it.",
        examples("work ./tasks"),
    ),
    "fit": Later(
        "harness.cli.operate:fit",
        "Fit a detector on captures of a network, without labels, and calibrate it on their latest flows.",
        examples("fit iforest ./captures -o office.model", "fit janus-plus mon.pcap tue.pcap -o office.model"),
    ),
    "score": Later(
        "harness.cli.score:score",
        "Score the flows of captures, or of one that is being written, and print those that stand out.",
        examples(
            "score office.model tonight.pcap",
            "score office.model ./captures --threshold fpr=0.001 --format eve -o alerts.json",
            "score office.model - --format jsonl < arriving.pcap",
        ),
    ),
    "recalibrate": Later(
        "harness.cli.operate:recalibrate",
        "New thresholds (and aggregator, and memory bank) for a model, from captures of this network.",
        examples("recalibrate office.model ./captures -o branch.model"),
    ),
    "leaderboard": Later(
        "harness.cli.leaderboard:leaderboard",
        "Print the leaderboard of a results folder.",
        examples("leaderboard", "leaderboard --protocol cross --metric macro_auroc --format markdown -o table.md"),
    ),
    "compare": Later(
        "harness.cli.compare:compare",
        "Differences between detectors on the same flows, with intervals.",
        examples("compare runs --detectors janus,iforest", "compare runs --control", "compare runs_before runs_after"),
    ),
    "merge": Later(
        "harness.cli.folders:merge",
        "Make one folder of results out of several; what they disagree on is refused.",
        examples("merge runs_a runs_b -o runs"),
    ),
    "export": Later(
        "harness.cli.folders:export",
        "Write results as one archive with checksums; the same results under the same name give the same bytes.",
        examples("export --runs runs -o runs.tar.zst"),
    ),
    "report": Later(
        "harness.cli.report:report",
        "Write one self-contained HTML page: leaderboard, matrices, curves, families, audits, costs, provenance.",
        examples("report", "report --runs runs -o report.html"),
    ),
    "paper": Later(
        "harness.cli.paper:paper",
        "Write what a paper begins with, in LaTeX: methods, tables, figures, references, dataset cards.",
        examples("paper runs -o paper"),
    ),
    "published": Later(
        "harness.cli.published:published",
        "Numbers of the literature with their protocols and footnotes, never ranked.",
        examples("published", "published --runs runs --format markdown"),
    ),
    "data add": Later(
        "harness.cli.data:add",
        "Extract the flows of a folder of captures, match them with its labels.csv, and keep them as a dataset.",
        examples(
            "data add campus ./captures",
            "data add campus ./captures --replace --benign Normal,0 --licence 'CC BY 4.0'",
            "data add nf_unsw NF-UNSW-NB15-v2.csv --layout netflow_v2",
        ),
    ),
    "data remove": Later(
        "harness.cli.data:remove",
        "Remove a dataset; the captures that it was made of, and results, stay as they are.",
        examples("data remove campus"),
    ),
    "data prepare": Later(
        "harness.cli.prepare:prepare",
        "Extract, match labels, store and audit one of the published datasets.",
        examples(
            "data prepare cicids2017 --captures ./pcaps --labels ./TrafficLabelling",
            "data prepare 'cicids2017[labels=corrected]' --captures ./pcaps",
            "data prepare 'nf_v2[which=ton_iot]' --labels ./netflow --as nf_ton_iot",
        ),
    ),
    "data export": Later(
        "harness.cli.data:export",
        "Write a dataset as dense arrays and tables that others read.",
        examples("data export campus -o ./campus", "data export campus --layout full_store -o ./campus"),
    ),
    "data list": Later("harness.cli.data:show_list", "Datasets that are there, and those that a plugin can make."),
    "data info": Later(
        "harness.cli.data:show_info", "Counts per family, dropped packets and the label match of a dataset."
    ),
    "data audit": Later(
        "harness.cli.audit:audit",
        "What besides attacks tells a dataset's attack flows from its benign ones, and what to do about it.",
        examples("data audit campus", "data audit campus plant -o audit.html", "data audit campus --format json"),
    ),
    "data verify": Later(
        "harness.cli.audit:verify",
        "Check a dataset's files against their checksums, and their contents against each other.",
        examples("data verify campus"),
    ),
    "detector list": Later(
        "harness.cli.catalogue:detectors",
        "Every registered detector; one that cannot be loaded is a line with the reason.",
    ),
    "detector info": Later(
        "harness.cli.catalogue:detector",
        "What a detector declares: inputs, scores, parameters with their defaults.",
        examples("detector info janus", "detector info 'knn[k=10]'", "detector info ./mine.py"),
    ),
    "detector check": Later(
        "harness.cli.catalogue:check",
        "Hold a detector to the contract: shapes, orientation, invariances, determinism, save and load.",
        examples("detector check iforest", "detector check ./mine.py", "detector check my_package.module:MyDetector"),
    ),
    "detector new": Later(
        "harness.cli.new:new",
        "Write a package with a detector of a few lines: it installs, passes `detector check`, and runs at once.",
        examples("detector new my-detector"),
    ),
    "runs gc": Later(
        "harness.cli.runs:gc",
        "Remove what no plan of a results folder asks for any more, and what killed runs left behind.",
        examples("runs gc --dry-run", "runs gc --runs runs"),
    ),
    "runs list": Later(
        "harness.cli.runs:show_list",
        "Every run that was asked for: its key, what it is, and how it ended.",
        examples("runs list --status error"),
    ),
    "runs verify": Later(
        "harness.cli.runs:verify",
        "Read every row, plan, score, truth, timeline and model as a whole, and name what is damaged.",
        examples("runs verify --set-aside"),
    ),
    "runs log": Later(
        "harness.cli.runs:log",
        "What a run's fit wrote: whatever the detector printed, warnings, the traceback of a failure.",
        examples("runs log 3f2a"),
    ),
    "runs why": Later(
        "harness.cli.runs:why",
        "What differs between a stored run's declaration and what the same request would run now.",
        examples("runs why 3f2a", "runs why 3f2a --detector ./mine.py"),
    ),
    "protocol list": Later("harness.cli.catalogue:protocols", "Every protocol."),
    "protocol info": Later("harness.cli.catalogue:protocol", "What a protocol asks for."),
    "metric list": Later("harness.cli.catalogue:metrics", "Every metric."),
    "renderer list": Later("harness.cli.catalogue:renderers", "Every leaderboard format."),
    "figure heatmap": Later(
        "harness.cli.figures:heatmap",
        "The source × target matrix of a detector; with --first, of two score choices and their difference in colour.",
        examples(
            "figure heatmap --detector knn -o cross.pdf",
            "figure heatmap --detector janus --first column:terminal_norm -o repair.pdf",
        ),
    ),
    "figure forest": Later(
        "harness.cli.figures:forest",
        "Every row's mean with both 95 % intervals, and its gain over the target-only control as a bar from zero.",
        examples("figure forest -o forest.pdf"),
    ),
    "figure roc": Later(
        "harness.cli.figures:roc",
        "ROC curves of one cell, with the low-FPR region enlarged.",
        examples("figure roc --detectors janus,iforest --source a --target b -o roc.svg"),
    ),
    "figure density": Later(
        "harness.cli.figures:density",
        "Densities of the scores of benign and attack flows, per source and target.",
        examples("figure density --detector janus -o scores.pdf"),
    ),
    "figure ablation": Later(
        "harness.cli.figures:ablation",
        "Bars of the differences from a reference: within, cross mean, cross worst.",
        examples("figure ablation --reference janus -o ablation.pdf"),
    ),
    "figure incidents": Later(
        "harness.cli.figures:incidents",
        "Campaigns found against false incidents a day, at every threshold.",
        examples("figure incidents --detectors janus,iforest --source a --target b -o incidents.svg"),
    ),
    "figure drift": Later(
        "harness.cli.figures:drift",
        "False-positive rates day by day, calibrated once and recalibrated every day.",
        examples("figure drift --detectors iforest,knn -o drift.pdf"),
    ),
}


def _below(group: str) -> dict[str, Later]:
    """The commands whose names begin so, by what follows."""
    return {
        words.removeprefix(group): each
        for words, each in COMMANDS.items()
        if words.startswith(group) and " " not in words.removeprefix(group)
    }


app = typer.Typer(
    cls=group_of(_below("")),
    name="janus-bench",
    help="Compare network anomaly detectors fairly: captures of real traffic in, a leaderboard out.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=examples("run --protocol cross --detectors janus,iforest", "data add campus ./captures", "leaderboard"),
)
for name, text in GROUPS.items():
    commands = group_of(_below(f"{name} "))
    app.add_typer(typer.Typer(cls=commands, help=text, no_args_is_help=True, rich_markup_mode=None), name=name)


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


def _interrupted() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # who presses Ctrl-C twice has been heard
        signal.signal(number, signal.SIG_IGN)
    sys.unraisablehook = ignore  # what was half made complains as it goes, and nobody can do anything about it
    console.say("janus-bench: interrupted")


def main() -> None:
    """Entry point: an error that the user can act on is one line on standard error and its exit code, never a
    traceback."""
    console.never_without_streams()
    console.never_fail_to_encode()
    # what a command makes lives to its end: looking through it all again and again was a quarter of a large plan's time
    gc.set_threshold(100_000)
    # a polite kill is an interrupt: rows are written, workers ended, and nothing half done stays
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.unraisablehook = interrupt_again
    try:
        app()
    except SystemExit as ended:
        # typer makes an exit of an interrupt, without a word
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
            _interrupted()
        raise
    except JanusBenchError as error:
        console.say(f"janus-bench: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _interrupted()
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
