"""``janus-bench fit``, ``recalibrate``: a detector on one's own network, without labels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli import completing, console
from harness.cli.options import (
    ActiveTimeout,
    Device,
    IdleTimeout,
    ModelFolder,
    RemoveMirrored,
    TcpClose,
    chosen_device,
)
from harness.cli.progress import PreparationProgress
from harness.environment import usable_cores
from janus_bench import plugins
from janus_bench.errors import UsageError
from janus_bench.files import why
from janus_bench.params import parse_request
from janus_bench.records import LARGEST_SEED
from janus_bench.words import counted

if TYPE_CHECKING:
    from datasets_registry.capture.rules import FlowRules
    from harness.operate.fitting import ModelRequest, Uses

Captures = Annotated[list[Path], typer.Argument(help="Captures, or folders of them, believed mostly benign.")]
NewModel = Annotated[Path, typer.Option("-o", "--output", help="Folder of the new model.")]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of whatever is drawn.")]


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
    request = ModelRequest(
        loaded, {} if params is None else asdict(params), seed, chosen_device(device), usable_cores()
    )
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
    request = ModelRequest(loaded, saved.manifest["params"], seed, "cpu", usable_cores(), saved)
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
    with PreparationProgress() as progress, benign_dataset(found, rules, usable_cores(), progress) as dataset:
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
