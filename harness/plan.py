"""protocol × datasets × detectors × seeds → runs, grouped into fits.  Pure: nothing is read or written, so
``--dry-run`` can print it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from janus_bench.columns import CONTEXT_VERSION
from janus_bench.errors import UsageError
from janus_bench.extensions import ProtocolSpec, Variant
from janus_bench.params import build_params
from janus_bench.plugins import LoadedDetector
from janus_bench.records import DatasetEntry, DetectorRow, ExpectedCell, PlanRecord, Regime, RunSpec

DEFAULT_INPUT = "features"
NEIGHBOURS = frozenset({"context", "stream"})  # Inputs that hold what other flows did.
WHOLE_FLOWS = frozenset({"cic_features", "stream"})  # Inputs that are there when a flow has ended, and not before.


@dataclass(frozen=True)
class DetectorChoice:
    """A detector as asked for: ``label`` as the user wrote it, parameters still as text; ``shared_input``: see
    ``datasets_registry.registry.shared_input``."""

    label: str
    loaded: LoadedDetector
    given: Mapping[str, Any]
    shared_input: str = DEFAULT_INPUT

    @property
    def default(self) -> Mapping[str, Any]:
        """What stands in place of the default of a detector that reads tables: the sets that the datasets share."""
        params_type: Any = self.loaded.params_type
        reads_tables = getattr(params_type, "input", None) == DEFAULT_INPUT
        return {"input": self.shared_input} if reads_tables and self.shared_input != DEFAULT_INPUT else {}

    def params(self, profile: str, *, diagonal: bool, overrides: Mapping[str, Any] | None = None) -> Any:
        """Defaults, overridden by the profile, by its refinement off the diagonal, by the preset, by the user, by the
        variant (``overrides``)."""
        loaded = self.loaded
        refined = {} if diagonal else loaded.profiles.get(f"{profile}/cross", {})
        layers = (self.default, loaded.profiles.get(profile, {}), refined, loaded.preset, self.given, overrides or {})
        return build_params(loaded.name, loaded.params_type, *layers)


@dataclass(frozen=True)
class Settings:
    """What applies to every run of a plan."""

    profile: str
    split: str
    seeds: tuple[int, ...]
    device: str
    overlay: bool = False


@dataclass(frozen=True)
class Fit:
    """Runs that one child process serves."""

    key: str
    label: str
    loaded: LoadedDetector
    runs: tuple[RunSpec, ...]

    @property
    def first(self) -> RunSpec:
        return self.runs[0]

    @property
    def datasets(self) -> set[str]:
        """Whose flows it uses."""
        return {self.first.source or self.first.target, *(run.target for run in self.runs)}

    @property
    def title(self) -> str:
        where = f"control on {self.first.target}" if self.first.source is None else f"from {self.first.source}"
        return f"{self.label} {where}, seed {self.first.seed}"


@dataclass(frozen=True)
class Plan:
    """Everything a protocol asks for."""

    record: PlanRecord
    fits: tuple[Fit, ...]

    def only(self, missing: set[str]) -> tuple[Fit, ...]:
        """The fits restricted to the runs in ``missing``; fits without any are left out."""
        kept = [(fit, tuple(run for run in fit.runs if run.key in missing)) for fit in self.fits]
        return tuple(replace(fit, runs=runs) for fit, runs in kept if runs)


def make_plan(
    protocol: ProtocolSpec,
    datasets: Mapping[str, Mapping[str, Any]],
    detectors: Sequence[DetectorChoice],
    settings: Settings,
) -> Plan:
    """Every run that the protocol expects; ``datasets``: name → {hash, synthetic, …} as they go into ``PlanRecord``."""
    if len(datasets) < protocol.minimum:
        raise UsageError(
            f"protocol {protocol.name!r} needs at least {protocol.minimum} datasets, got "
            f"{', '.join(datasets) or 'none'}"
        )
    labels = [choice.label for choice in detectors]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise _twice(detectors, twice)
    pairs = list(dict.fromkeys(protocol.cells(tuple(datasets))))
    runs: dict[str, tuple[str, LoadedDetector, RunSpec]] = {}
    cells, rows = [], {}
    for choice in detectors:
        for row in _rows(protocol, choice):
            rows[row.label] = _declared(row, settings)
            specs = _RowSpecs(protocol, row, datasets, settings)
            for seed in settings.seeds:
                for place, regime in row.regimes.items():
                    for source, target in pairs:
                        loaded, spec = specs.of(seed, regime, source, target)
                        runs.setdefault(spec.key, (row.label, loaded, spec))
                        cells.append(ExpectedCell(row.label, place, source, target, seed, spec.key))
    record = PlanRecord(
        protocol=protocol.name,
        profile=settings.profile,
        split=settings.split,
        calibration=protocol.calibration,
        seeds=settings.seeds,
        datasets={name: DatasetEntry(**info) for name, info in datasets.items()},
        detectors=rows,
        cells=tuple(cells),
        overlay=settings.overlay,
    )
    return Plan(record, _grouped(runs, settings.seeds))


def _twice(detectors: Sequence[DetectorChoice], labels: Sequence[str]) -> UsageError:
    """What to do about labels that several detectors have, to be raised by the caller: files of one name are others."""
    for label in labels:
        files = dict.fromkeys(choice.loaded.file for choice in detectors if choice.label == label)
        if len(files) > 1:
            return UsageError(f"{' and '.join(files)} are all called {label!r}, as their rows would be: rename them")
    return UsageError(f"detector {', '.join(labels)} is named twice in --detectors: name each once")


@dataclass(frozen=True)
class _Row:
    """One row of the table: a detector in one variant.  ``regimes``: place in the table (transfer, control beside it) →
    regime of its runs."""

    label: str
    choice: DetectorChoice
    variant: Variant
    regimes: Mapping[Regime, Regime]


def _rows(protocol: ProtocolSpec, choice: DetectorChoice) -> list[_Row]:
    rows = []
    for variant in protocol.variants:
        label = f"{choice.label} · {variant.name}" if variant.name else choice.label
        beside: dict[Regime, Regime] = (
            {"control": "control"} if "control" in protocol.regimes and choice.loaded.capabilities.learns else {}
        )
        if "transfer" in protocol.regimes:
            rows.append(_Row(label, choice, variant, {"transfer": "transfer", **beside}))
        if "pooled" in protocol.regimes and choice.loaded.capabilities.learns:
            rows.append(_Row(f"{label} · pooled", choice, variant, {"transfer": "pooled", **beside}))
    return rows


def version_of(loaded: LoadedDetector) -> str:
    """A detector's own version, and the context's where it reads one: scores follow from both."""
    return loaded.version + (f", context {CONTEXT_VERSION}" if "context" in loaded.capabilities.inputs else "")


class _RowSpecs:
    """The runs behind the cells of one row, and the detector as their parameters make it.

    A control has the parameters of its transfer cell and no source, so cells of a target share one control run.  A
    detector that sees no neighbours has one run, whatever is done to them.  Whatever a row's runs share is made once: a
    plan may have a hundred thousand.
    """

    def __init__(
        self, protocol: ProtocolSpec, row: _Row, datasets: Mapping[str, Mapping[str, Any]], settings: Settings
    ) -> None:
        self._protocol, self._row, self._settings = protocol, row, settings
        self._hashes = {name: about["hash"] for name, about in datasets.items()}
        self._resolved: dict[bool, tuple[LoadedDetector, dict[str, Any]]] = {}
        self._controls: dict[tuple[bool, Regime, str, int], RunSpec] = {}

    def of(self, seed: int, regime: Regime, source: str, target: str) -> tuple[LoadedDetector, RunSpec]:
        diagonal = source == target
        if diagonal not in self._resolved:
            self._resolved[diagonal] = self._with_parameters(diagonal)
        loaded, params = self._resolved[diagonal]
        if regime != "control":
            return loaded, self._spec(loaded, params, regime, source, target, seed)
        where = diagonal, regime, target, seed
        if where not in self._controls:
            self._controls[where] = self._spec(loaded, params, regime, None, target, seed)
        return loaded, self._controls[where]

    def _with_parameters(self, diagonal: bool) -> tuple[LoadedDetector, dict[str, Any]]:
        choice = self._row.choice
        params = choice.params(self._settings.profile, diagonal=diagonal, overrides=self._row.variant.params)
        return choice.loaded.declaring(params), {} if params is None else asdict(params)

    def _spec(
        self,
        loaded: LoadedDetector,
        params: Mapping[str, Any],
        regime: Regime,
        source: str | None,
        target: str,
        seed: int,
    ) -> RunSpec:
        variant, settings, inputs = self._row.variant, self._settings, loaded.capabilities.inputs
        return RunSpec(
            detector=loaded.name,
            version=version_of(loaded),
            params=params,
            regime=regime,
            source=source,
            source_hash=None if source is None else self._hashes[source],
            target=target,
            target_hash=self._hashes[target],
            seed=seed,
            split=settings.split,
            caps=variant.caps or settings.profile,
            profile=settings.profile,
            calibration=self._protocol.calibration,
            device=settings.device,
            train_size=variant.train_size,
            contamination=variant.contamination,
            overlay=settings.overlay and bool(inputs & NEIGHBOURS),
            attacks_left=variant.attacks_left if "context" in inputs else 0.0,
        )


def _grouped(runs: Mapping[str, tuple[str, LoadedDetector, RunSpec]], seeds: Sequence[int]) -> tuple[Fit, ...]:
    """Fits seed by seed, so that what is staged for a seed can go before the next; within one in the order asked for,
    transfer before control: the long ones start first."""
    fits: dict[str, tuple[str, LoadedDetector, list[RunSpec]]] = {}
    keys: dict[tuple[object, ...], str] = {}
    for label, loaded, spec in runs.values():
        # a row's runs share their parameters' object, so what is equal here has one key, which is not made anew
        alike = label, id(spec.params), spec.regime, spec.source or spec.target, spec.seed
        if alike not in keys or spec.regime == "pooled":
            keys[alike] = spec.fit_key
        fits.setdefault(keys[alike], (label, loaded, []))[2].append(spec)
    made = [Fit(key, label, loaded, tuple(members)) for key, (label, loaded, members) in fits.items()]
    return tuple(sorted(made, key=lambda fit: seeds.index(fit.first.seed)))


def _declared(row: _Row, settings: Settings) -> DetectorRow:
    choice, variant = row.choice, row.variant
    capabilities = choice.loaded.declaring(
        choice.params(settings.profile, diagonal=True, overrides=variant.params)
    ).capabilities
    return DetectorRow(
        name=choice.loaded.name,
        group=variant.group,
        provenance=capabilities.provenance,
        uses_labels=capabilities.uses_labels,
        learns=capabilities.learns,
        scores=tuple(capabilities.scores),
        aggregator=variant.aggregator or capabilities.aggregator or "identity",
        detector=choice.label,
        variant=row.label.removeprefix(choice.label).removeprefix(" · "),
        params={**choice.default, **choice.given, **variant.params},
        regime=row.regimes["transfer"],
        calibrates=capabilities.target_use,
        at_end=bool(capabilities.inputs & WHOLE_FLOWS) or None,
    )
