"""A program of any language as a detector: ``exec:./manifest.toml`` names its command line, and the worker hands it a
folder of Arrow files.

``CMD fit DIR``        reads ``train.arrow`` and ``validation.arrow``, and leaves what it learned in ``model/``
``CMD calibrate DIR``  reads ``calibration.arrow`` and ``model/``, and leaves what it learned in ``calibration/``, which
                       is empty before
``CMD score DIR``      reads ``flows.arrow``, ``model/`` and ``calibration/``, and writes ``scores.arrow``

Each is a process of its own in the manifest's folder; ``job.json`` says seed, threads, parameters and score columns.
The files are Arrow IPC files, not compressed: ``id`` (uint64), a float64 column per feature, and a list column
``packet.<channel>`` per packet channel.  ``scores.arrow`` has ``id`` and a float64 column per score, a row per flow.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from janus_bench.columns import FEATURE_INPUTS, PACKET_CHANNELS
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import InvalidScores, PluginError, UsageError, unknown
from janus_bench.files import why
from janus_bench.params import CheckedParams
from janus_bench.stored import Unreadable, read_toml

# What a line that gives an error has in it; a frame of a stack (``at new NodeError (…)``) is none.
_GIVES_AN_ERROR = re.compile(r"(?!at\s).*?\b\w*(?:error|exception|panic|panicked)\b", re.IGNORECASE)

_TYPES: Mapping[str, type] = {
    **dict.fromkeys(("name", "aggregator", "provenance", "source", "version"), str),
    **dict.fromkeys(("command", "inputs", "scores", "files"), list),
    **dict.fromkeys(("calibrates", "remembers", "deterministic"), bool),
    "params": dict,
}
_OF_CAPABILITIES = (
    "aggregator",
    "provenance",
    "source",
    "version",
    "scores",
    "calibrates",
    "remembers",
    "deterministic",
)


@dataclass(frozen=True)
class ProgramParams(CheckedParams):
    """What the manifest's table ``params`` makes of it: a field per entry, which is its default."""

    name: ClassVar[str] = "exec"


class Program:
    """A detector that is processes of its own; one made by ``exec_detector`` has the manifest's declarations."""

    Params: ClassVar[Any] = ProgramParams
    command: ClassVar[tuple[str, ...]]
    folder: ClassVar[Path]  # of the manifest: the command's working folder
    capabilities: ClassVar[Capabilities]

    def __init__(self, params: Any) -> None:
        self.params = params
        self._place = Path()

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """``CMD fit``."""
        self._place = Path(tempfile.mkdtemp(dir=ctx.scratch, prefix="exec-"))
        for name in ("model", "calibration"):
            (self._place / name).mkdir()
        job = {
            "seed": ctx.seed,
            "threads": ctx.threads,
            "params": asdict(self.params),
            "inputs": sorted(self.capabilities.inputs),
            "scores": list(self.capabilities.scores),
        }
        (self._place / "job.json").write_text(json.dumps(job, indent=1) + "\n", encoding="utf-8")
        self._write("train", benign)
        self._write("validation", ctx.validation)
        self._call("fit")
        for name in ("train", "validation"):
            (self._place / f"{name}.arrow").unlink(missing_ok=True)

    def calibrate(self, benign: FlowBatch) -> None:
        """``CMD calibrate``."""
        shutil.rmtree(self._place / "calibration", ignore_errors=True)
        (self._place / "calibration").mkdir()
        self._write("calibration", benign)
        self._call("calibrate")

    def score(self, flows: FlowBatch) -> dict[str, NDArray[np.float64]]:
        """``CMD score``; InvalidScores unless each flow has its scores, under its id and in its place."""
        written = self._place / "scores.arrow"
        written.unlink(missing_ok=True)
        self._write("flows", flows)
        self._call("score")
        return read_scores(written, flows.ids, self.capabilities.scores)

    def _write(self, name: str, flows: FlowBatch) -> None:
        write_flows(self._place / f"{name}.arrow", flows, self.capabilities.inputs)

    def _call(self, what: str) -> None:
        """Run the command; what it prints is in the log.  If it fails, the reason is the last line that gives an error,
        since Node and others end with something else, or the last of all."""
        try:
            process = subprocess.Popen(
                [*self.command, what, str(self._place)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise PluginError(f"{self.command[0]} cannot be started: {why(error)}") from None
        assert process.stdout is not None
        last = cause = ""
        for line in process.stdout:
            text = line.decode(errors="replace")
            sys.stderr.write(text)
            last = text.strip() or last
            cause = last if _GIVES_AN_ERROR.match(text.strip()) else cause
        if code := process.wait():
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            reason = (cause or last) if code > 0 else last  # who is killed has not said why
            raise PluginError(f"{' '.join(self.command)} {what} ended with {how}{f': {reason}' if reason else ''}")


def write_flows(path: Path, flows: FlowBatch, inputs: frozenset[str]) -> None:
    """Flows as an Arrow IPC file, with the columns of these inputs."""
    import pyarrow as pa

    columns: dict[str, Any] = {"id": pa.array(flows.ids)}
    for kind in sorted(inputs & FEATURE_INPUTS.keys()):
        columns |= {name: pa.array(flows.features[name]) for name in FEATURE_INPUTS[kind]}
    if "packets" in inputs:
        offsets = pa.array(flows.offsets, pa.int64())
        for name in PACKET_CHANNELS:
            values = pa.array(flows.packet(name))
            columns[f"packet.{name}"] = pa.LargeListArray.from_arrays(offsets, values).cast(pa.list_(values.type))
    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def read_scores(path: Path, ids: NDArray[np.uint64], names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """What a program wrote; whether the numbers are finite is for the harness to see."""
    import pyarrow as pa

    if not path.is_file():
        raise InvalidScores(f"the program wrote no {path.name}")
    try:
        with pa.OSFile(str(path), "rb") as file:
            table = pa.ipc.open_file(file).read_all()
    except (OSError, pa.ArrowException) as error:
        raise InvalidScores(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from None
    if missing := [name for name in ("id", *names) if table.column_names.count(name) != 1]:
        raise InvalidScores(f"{path.name} has not one column {missing[0]!r}; it has {', '.join(table.column_names)}")
    given = table.column("id").to_numpy()
    if given.dtype != np.uint64 or not np.array_equal(given, ids):
        raise InvalidScores(f"{path.name} does not have the ids of flows.arrow (uint64), in their order")
    found = {name: table.column(name).to_numpy() for name in names}
    for name, values in found.items():
        if values.dtype != np.float64:
            raise InvalidScores(f"{path.name}: column {name!r} is {values.dtype}, expected float64")
    return found


@dataclass(frozen=True)
class _Manifest:
    """``name``: of the rows; ``digest``: of the manifest and of the files that the command and ``files`` name."""

    name: str
    path: Path
    digest: str
    fields: Mapping[str, Any] = field(repr=False)


def exec_detector(member: str) -> type[Program]:
    """The detector that a manifest describes, as it is now.  UsageError, in a line, for what is wrong with it."""
    path = Path(member).absolute()
    manifest = _read(path)
    fields = manifest.fields
    inputs = frozenset(fields.get("inputs", ("features",)))
    if "stream" in inputs:
        raise UsageError(f"{path.name}: inputs: a stream is not handed to programs")
    declared = {name: fields[name] for name in _OF_CAPABILITIES if name in fields}
    try:
        capabilities = Capabilities(inputs=inputs, **{**declared, "scores": tuple(fields.get("scores", ("score",)))})
    except ValueError as error:
        raise UsageError(f"{path.name}: {error}") from None
    params = make_dataclass(
        "Params",
        [(name, type(value), value) for name, value in fields.get("params", {}).items()],
        bases=(ProgramParams,),
        frozen=True,
    )
    about = {
        "Params": params,
        "capabilities": capabilities,
        "command": tuple(fields["command"]),
        "folder": path.parent,
        "own_file": (manifest.name, str(path), manifest.digest),
        "__doc__": Program.__doc__,
    }
    if not capabilities.calibrates:
        about["calibrate"] = None  # a method that is there has to be declared
    return type("Program", (Program,), about)


def _read(path: Path) -> _Manifest:
    try:
        fields, content = read_toml(path)
    except Unreadable as error:
        raise UsageError(f"{path}: {error}") from None
    for name, value in fields.items():
        if name not in _TYPES:
            raise unknown(f"entry of {path.name}", name, _TYPES)
        texts = not isinstance(value, list) or all(isinstance(each, str) for each in value)
        if not isinstance(value, _TYPES[name]) or not texts:
            raise UsageError(f"{path.name}: {name}: expected {_said(_TYPES[name])}")
    if not fields.get("command"):
        raise UsageError(f'{path.name}: command is missing, as in command = ["python3", "mine.py"]')
    for name, value in fields.get("params", {}).items():
        if not name.isidentifier() or not isinstance(value, bool | int | float | str):
            raise UsageError(f"{path.name}: params.{name}: expected a truth value, a number or a text")
    digest = hashlib.sha256(content)
    for name in (*fields["command"], *fields.get("files", ())):
        file = path.parent / name
        if file.is_file():
            digest.update(file.read_bytes())
        elif name in fields.get("files", ()):
            raise UsageError(f"{path.name}: files: there is no {name} beside it")
    return _Manifest(fields.get("name", path.stem), path, digest.hexdigest()[:12], fields)


def _said(kind: type) -> str:
    return {str: "a text", list: "a list of texts", bool: "true or false", dict: "a table"}[kind]
