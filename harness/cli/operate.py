"""``janus-bench fit``, ``score``, ``recalibrate``: a detector on one's own network, without labels."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli import completing, console
from harness.cli.options import (
    ActiveTimeout,
    Device,
    IdleTimeout,
    RemoveMirrored,
    TcpClose,
    chosen_device,
)
from harness.cli.progress import PreparationProgress
from janus_bench import plugins
from janus_bench.errors import DataError, UsageError
from janus_bench.files import why
from janus_bench.params import parse_request
from janus_bench.records import LARGEST_SEED
from janus_bench.words import counted

if TYPE_CHECKING:
    from datasets_registry.capture.rules import FlowRules
    from harness.operate.fitting import ModelRequest, Uses
    from harness.operate.judge import Judge
    from harness.operate.watching import Read

Captures = Annotated[list[Path], typer.Argument(help="Captures, or folders of them, believed mostly benign.")]
ModelFolder = Annotated[Path, typer.Argument(help="A model that fit, recalibrate or run left.")]
NewModel = Annotated[Path, typer.Option("-o", "--output", help="Folder of the new model.")]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of whatever is drawn.")]
DASH = Path("-")  # Standard input.


def fit(
    detector: Annotated[
        str,
        typer.Argument(
            autocompletion=completing.detector,
            help="Name, or name[parameter=value,…]: see `janus-bench detector list`.",
        ),
    ],
    captures: Captures,
    output: NewModel,
    device: Device = "auto",
    profile: Annotated[
        Literal["quick", "paper"], typer.Option(help="quick: small models, few training flows; paper: full size.")
    ] = "quick",
    seed: Seed = 42,
    idle_timeout: IdleTimeout = 120.0,
    active_timeout: ActiveTimeout = None,
    tcp_close: TcpClose = "idle",
    remove_mirrored: RemoveMirrored = False,
) -> None:
    """Fit a detector on captures of a network, without labels, and calibrate it on their latest flows.

    Exit code: 0 fitted, 1 the detector failed, 2 usage, 3 data, 4 plugin, 130 interrupted.
    """
    from datasets_registry.capture.rules import FlowRules
    from harness.operate.fitting import FITTING, ModelRequest, check_can_be_fitted
    from harness.plan import DetectorChoice

    name, given = parse_request(detector)
    loaded = plugins.load_detector(name)
    params = DetectorChoice(detector, loaded, given).params(profile, diagonal=True)
    loaded = loaded.declaring(params)
    check_can_be_fitted(loaded)
    rules = FlowRules(idle_timeout, active_timeout, tcp_close, remove_mirrored)
    request = ModelRequest(loaded, {} if params is None else asdict(params), seed, chosen_device(device), _cores())
    _make(request, FITTING, captures, rules, output, profile)


def recalibrate(model: ModelFolder, captures: Captures, output: NewModel, seed: Seed = 42) -> None:
    """New thresholds (and aggregator, and memory bank) for a model, from captures of this network.  Nothing is
    trained.

    Exit code: 0 calibrated, 1 the detector failed, 2 usage, 3 data, 4 plugin, 130 interrupted.
    """
    from datasets_registry.capture.rules import FlowRules
    from harness.models import detector_of
    from harness.operate.fitting import RECALIBRATING, ModelRequest, check_can_be_fitted
    from janus_bench.models import open_model

    saved = open_model(model)
    loaded = detector_of(saved)
    check_can_be_fitted(loaded)
    request = ModelRequest(loaded, saved.manifest["params"], seed, "cpu", _cores(), saved)
    _make(request, RECALIBRATING, captures, FlowRules(**saved.manifest["rules"]), output, "quick")


def _make(
    request: ModelRequest, uses: Uses, captures: list[Path], rules: FlowRules, output: Path, profile: str
) -> None:
    from harness.operate.captures import benign_dataset, captures_of, worries
    from harness.operate.fitting import divided, make_model

    if output.exists():
        raise UsageError(f"{output}: is there already: name another one with -o")
    _check_writable(output)
    found = captures_of(captures, console.say)
    with PreparationProgress() as progress, benign_dataset(found, rules, _cores(), progress) as dataset:
        division = divided(dataset, request.seed, profile, uses)
        console.say(division.said)
        _say_parts(division, uses)
        _say_left(division, uses, profile)
        for line in worries(dataset):
            console.say(f"warning: {line}")
        make_model(request, division, found, rules.described(), output, progress)
    _conclude_fit(output)


def _check_writable(output: Path) -> None:
    """Before anything is read: hours of work are not lost on a folder that nobody may write to."""
    import tempfile

    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix="."):
            pass
    except OSError as error:
        raise UsageError(f"cannot write {output} ({why(error)}): choose another place with -o") from None


def _say_parts(division: Any, uses: Uses) -> None:
    from harness.operate.alerts import utc

    start = division.dataset.index.start
    for what, names in uses.named.items():
        flows = division.flows(*names)
        captures = len(set(division.dataset.index.capture[flows].tolist()))
        begin, end = (
            utc(round(1e9 * at)).strftime("%Y-%m-%d %H:%M:%S") for at in (start[flows].min(), start[flows].max())
        )
        console.say(f"  {what}: {counted(len(flows), 'flow')} of {counted(captures, 'capture')}, {begin} to {end} UTC")


def _say_left(division: Any, uses: Uses, profile: str) -> None:
    used = sum(len(division.flows(*names)) for names in uses.named.values())
    if left := division.dataset.store.n_flows - used:
        console.say(
            f"  in no part: {counted(left, 'flow')}, of sessions that lie across a boundary or beyond what profile "
            f"{profile} takes"
        )


def _conclude_fit(output: Path) -> None:
    from harness.operate.judge import Judge
    from janus_bench.models import open_model

    saved = open_model(output)
    for line in Judge(saved, "p99").described():
        console.say(line)
    console.say(f"wrote {output}: {saved.manifest['detector']}, {saved.manifest['fingerprint'][:16]}")


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
        str, typer.Option(help="A key: addresses are replaced by a hash under it.", metavar="KEY")
    ] = "",
) -> None:
    """Score the flows of captures, or of one that is being written, and print those that stand out.

    Exit code: 0 scored, 2 usage, 3 model or data, 4 plugin, 130 interrupted (what was open is scored).
    """
    from datasets_registry.capture.rules import FlowRules
    from harness.models import detector_of
    from harness.operate.alerts import FlowRecord, Recorder
    from harness.operate.captures import captures_of
    from harness.operate.fitting import check_can_be_fitted
    from harness.operate.formats import FORMATS, folded
    from harness.operate.judge import Judge
    from harness.operate.scorer import Scorer
    from harness.operate.watching import STANDARD_INPUT, Rate, Watch, interruptible
    from janus_bench.models import open_model

    if DASH in captures and len(captures) > 1:
        raise UsageError("- is standard input: name it alone")
    saved = open_model(model)
    loaded = detector_of(saved)
    check_can_be_fitted(loaded)
    judge = Judge(saved, threshold)
    found = {} if captures == [DASH] else captures_of(captures, console.say)
    if output is not None:
        _check_apart(output, model, found.values())
    at_a_terminal = output is None and (sys.stdout.isatty() or "COLUMNS" in os.environ)
    shape = folded(console.width()) if form == "table" and at_a_terminal else FORMATS[form]
    failed = 0
    label = loaded.name
    recorder = Recorder(judge, label, saved.manifest["scores"], hash_addresses, everything)
    for line in judge.described():
        console.say(line)
    rate = Rate(console.say)
    with (
        _written_to(output) as write,
        interruptible() as interrupt,
        Scorer(saved, _cores()) as scorer,
    ):
        write(shape.head)

        def take(records: list[FlowRecord]) -> None:
            write("".join(map(shape.line, records)))

        def tell(name: str, n_bytes: int) -> None:
            rate(name, n_bytes, recorder.flows)

        inputs = loaded.capabilities.inputs
        watch = Watch(
            scorer, recorder, FlowRules(**saved.manifest["rules"]), inputs, take, tell, interrupt, loaded.explains
        )
        for name, path in found.items():
            if interrupt():
                break
            try:
                failed += not _say_scan(name, watch.file(name, path))
            except DataError as error:
                console.say(f"janus-bench: {error}")
                failed += 1
        if not found:
            failed += not _say_scan(STANDARD_INPUT, watch.standard_input())
    _conclude_score(judge, recorder, watch.read)
    if interrupt():
        console.say("interrupted; the flows that were open are scored")
        raise typer.Exit(130)
    if failed:
        raise typer.Exit(DataError.exit_code)


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


def _conclude_score(judge: Judge, recorder: Any, read: Read) -> None:
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


def _cores() -> int:
    return len(os.sched_getaffinity(0))
