"""``janus-bench score``: which flows of captures, or of one that is being written, stand out for a model."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli import console
from harness.cli.options import ModelFolder
from harness.environment import usable_cores
from janus_bench.errors import DataError, UsageError
from janus_bench.files import why

if TYPE_CHECKING:
    from harness.operate.formats import Format
    from harness.operate.judge import Judge
    from harness.operate.watching import Read, Watch

DASH = Path("-")  # Standard input.


def score(
    model: ModelFolder,
    captures: Annotated[
        list[Path], typer.Argument(help="Captures, or folders of them; - for one that arrives on standard input.")
    ],
    threshold: Annotated[str, typer.Option(help="p99, fpr=0.001 or alerts=50/day.")] = "p99",
    form: Annotated[
        Literal["table", "jsonl", "csv", "eve"], typer.Option("--format", help="eve: as Suricata's.")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File for the alerts; default: standard output.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All flows, not alerts alone.")] = False,
    hash_addresses: Annotated[
        str | None, typer.Option(help="A key: addresses are replaced by a hash under it.", metavar="KEY")
    ] = None,
) -> None:
    """Score the flows of captures, or of one that is being written, and print those that stand out.

    Exit code: 0 scored, 2 usage, 3 model or data, 4 plugin, 130 interrupted (what was open is scored).
    """
    from datasets_registry.capture.rules import FlowRules
    from harness.models import detector_of
    from harness.operate.alerts import Recorder
    from harness.operate.captures import captures_of
    from harness.operate.fitting import check_can_be_fitted
    from harness.operate.judge import Judge
    from harness.operate.scorer import Scorer
    from harness.operate.watching import Rate, Watch, interruptible
    from janus_bench.models import open_model

    if DASH in captures and len(captures) > 1:
        raise UsageError("- is standard input: name it alone")
    if hash_addresses == "":
        raise UsageError(
            "--hash-addresses '' is no key, so that addresses would be in clear: give one, or leave it out"
        )
    saved = open_model(model)
    loaded = detector_of(saved)
    check_can_be_fitted(loaded)
    judge = Judge(saved, threshold)
    found = {} if captures == [DASH] else captures_of(captures, console.say)
    if output is not None:
        _check_apart(output, model, found.values())
    for line in judge.described():
        console.say(line)
    recorder = Recorder(judge, loaded.name, saved.manifest["scores"], hash_addresses or "", everything)
    shape = _shape(form, output)
    rate = Rate(console.say)
    with _written_to(output) as write, interruptible() as interrupt, Scorer(saved, usable_cores()) as scorer:
        write(shape.head)
        watch = Watch(
            scorer,
            recorder,
            FlowRules(**saved.manifest["rules"]),
            loaded.capabilities.inputs,
            write=lambda records: write("".join(map(shape.line, records))),
            tell=lambda name, n_bytes: rate(name, n_bytes, recorder.flows),
            stopped=interrupt,
            explains=loaded.explains,
        )
        failed = _watched(watch, found, interrupt)
    _conclude(judge, recorder, watch.read)
    if interrupt():
        console.say("interrupted; the flows that were open are scored")
        raise typer.Exit(130)
    if failed:
        raise typer.Exit(DataError.exit_code)


def _shape(form: str, output: Path | None) -> Format:
    """How flows are written; of a table for eyes, with lines as wide as the terminal."""
    from harness.operate.formats import FORMATS, folded

    at_a_terminal = output is None and (sys.stdout.isatty() or "COLUMNS" in os.environ)
    return folded(console.width()) if form == "table" and at_a_terminal else FORMATS[form]


def _watched(watch: Watch, found: Mapping[str, Path], interrupt: Callable[[], bool]) -> int:
    """Score these captures, or what arrives where there are none; how many could not be."""
    from harness.operate.watching import STANDARD_INPUT

    if not found:
        return not _say_scan(STANDARD_INPUT, watch.standard_input())
    failed = 0
    for name, path in found.items():
        if interrupt():
            break
        try:
            failed += not _say_scan(name, watch.file(name, path))
        except DataError as error:
            console.say(f"janus-bench: {error}")
            failed += 1
    return failed


def _check_apart(output: Path, model: Path, captures: Iterable[Path]) -> None:
    """Before it is opened, which empties it; UsageError where something would be lost."""
    if output.resolve().is_relative_to(model.resolve()):
        raise UsageError(f"{output}: is in the model's folder: choose another file with -o")
    if not output.exists():
        return
    read = [capture.stat() for capture in captures]
    if not read:
        with contextlib.suppress(OSError, ValueError):  # nothing stands behind standard input
            read = [os.fstat(sys.stdin.fileno())]
    if output.is_file() and any(os.path.samestat(output.stat(), one) for one in read):
        raise UsageError(f"{output}: is the capture that is to be scored: choose another file with -o")


def _say_scan(name: str, scan: Any) -> bool:
    """What a capture has that was not scored; False where damage left nothing that could be."""
    from datasets_registry.extraction import say_counts

    damaged = bool(scan.dropped.keys() & {"corrupt_record", "corrupt_compression"})
    if scan.format == "nothing":
        console.say(f"warning: {name}: empty, or cut off before its first packet")
    elif scan.records and not scan.used:
        console.say(f"warning: {name}: none of its {scan.records} packets can be used ({say_counts(scan.dropped)})")
    elif "cut_by_end_of_file" in scan.dropped:
        console.say(f"warning: {name}: ends inside a packet record; what precedes it is scored")
    elif damaged:
        console.say(f"warning: {name}: is damaged; what precedes the damage is scored, what follows was not read")
    return bool(scan.records) or scan.format == "nothing" or not damaged


def _conclude(judge: Judge, recorder: Any, read: Read) -> None:
    flows, alerts, promised = recorder.flows, recorder.alerts, judge.threshold.promised
    from datasets_registry.extraction import say_counts

    dropped = f"; dropped: {say_counts(read.dropped)}" if read.dropped else ""
    console.say(f"{read.packets:,} packets, {read.used:,} used{dropped}")
    if read.belated:
        console.say(f"warning: {read.belated:,} packets came too late to be put in order; their times are later ones")
    share = f", {alerts / flows:.3%}; promised {promised:.3%} of benign flows" if flows else ""
    console.say(f"{alerts:,} alerts of {flows:,} flows{share}")
    if line := judge.drift(alerts, flows):
        console.say(f"warning: {line}")


@contextmanager
def _written_to(output: Path | None) -> Iterator[Callable[[str], None]]:
    """Text goes to the file, or to standard output, as it comes; UsageError where it cannot be written."""
    where = "standard output" if output is None else str(output)
    try:
        file = sys.stdout if output is None else output.open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {where} ({why(error)}): choose another file with -o") from None

    def write(text: str) -> None:
        try:
            file.write(text)
            file.flush()
        except OSError as error:
            if output is None:  # or what is still buffered fails again at the end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise UsageError(f"cannot write {where} ({why(error)}); what was written before is there") from None

    try:
        yield write
    finally:
        if output is not None:
            with contextlib.suppress(OSError):
                file.close()
