"""The methods paragraph: what was run, how it was divided, calibrated, repeated and tested, and on which machine.  Its
numbers are commands of ``numbers``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from reports.paper.bibliography import CORRECTION, OTHER_NETWORKS, SOFTWARE, Bibliography, cite
from reports.render.latex import code, escape
from reports.results.model import ResultTable
from reports.tables.document import Board
from reports.tables.fields import in_order, metric_name
from reports.tables.notes import CALIBRATION, PARTITION

REGIMES = {
    "transfer": r"fitted on the training flows of the source network",
    "pooled": r"fitted on the training flows of the source and the aggregator calibration flows of the target",
}
LIBRARIES = ("python", "numpy", "torch", "scikit-learn")


def methods_text(document: Board, table: ResultTable, references: Bibliography) -> str:
    """Paragraphs of LaTeX; every number in it is a command, versions and names apart."""
    paragraphs = [
        _setting(document, references),
        _partitions(document, table),
        _regimes(document, table),
        _statistics(document),
        _machine(table),
    ]
    return "\n\n".join(paragraphs) + "\n"


def statistics_of(document: Board) -> tuple[str, ...]:
    """Keys of the works that the paragraph on statistics rests on: with too few networks there is no interval for
    others like them."""
    if document["statistics"] is None:
        return ()
    others = any(of["low"] is not None for row in document["rows"] for of in row["intervals"].values())
    return (CORRECTION, OTHER_NETWORKS) if others else (CORRECTION,)


def _setting(document: Board, references: Bibliography) -> str:
    detectors = cite(
        key for name in in_order(row["name"] for row in document["rows"]) for key in references.detectors[name]
    )
    datasets = cite(key for name in document["datasets"] for key in references.datasets[name])
    synthetic = r" \textbf{The data are synthetic.}" if document["synthetic"] else ""
    several = len({row["name"] for row in document["rows"]}) < len(document["rows"])
    settings = r" in \jbRows{} settings" if several else ""
    seeds = f"seed{'s' if len(document['seeds']) > 1 else ''}"
    return (
        rf"We compare \jbDetectors{{}} detectors{detectors}{settings} with janus-bench{cite([SOFTWARE])} under its "
        rf"protocol {code(document['protocol'])}, profile {code(document['profile'])}: \jbCells{{}} cells of source "
        rf"and target over \jbDatasets{{}} networks{datasets} with \jbFlows{{}} labelled flows, \jbBenign{{}} of them "
        rf"benign and \jbAttack{{}} attacks; flows without a label are left out.{synthetic} Every cell is run with "
        rf"\jbSeeds{{}} {seeds} (\jbSeedList{{}}). Of \jbRuns{{}} runs \jbRunsOk{{}} succeeded{_of_controls(document)}."
    )


def _of_controls(document: Board) -> str:
    there = any(row["control_status_counts"] for row in document["rows"])
    return r", and \jbControlRunsOk{} of \jbControlRuns{} runs of target-only controls" if there else ""


def _partitions(document: Board, table: ResultTable) -> str:
    kinds = in_order(
        partition["kind"]
        for info in document["datasets_info"].values()
        for partition in info["partitions"].values()
        if "kind" in partition
    )
    how = "; ".join(escape(PARTITION.get(kind, kind)) for kind in kinds) or "not recorded"
    specs = [run.record.spec for run in table.runs if run.record is not None]
    poisoned = any(spec.get("contamination") for spec in specs)
    sizes = len({spec.get("train_size") for spec in specs}) > 1
    tested = r", and every later day is tested" if document["split"] == "drift" else r" and test (\jbShareTest{}\,\%)"
    return (
        r"Benign flows of each network are divided anew for each seed into training (\jbShareTrain{}\,\%), validation "
        r"(\jbShareVal{}\,\%), aggregator calibration (\jbShareCalA{}\,\%), threshold calibration (\jbShareCalB{}\,\%)"
        rf"{tested}; attacks are tested only. The division is: {how}. Limits of the parts' sizes are: training "
        r"\jbCapTrain{}, aggregator calibration \jbCapCalA{}, threshold calibration \jbCapCalB{}, benign test flows "
        r"\jbCapTestBenign{}, attack test flows \jbCapTestAttack{}. The parts held \jbTrainFewest{} to \jbTrainMost{}, "
        r"\jbCalAFewest{} to \jbCalAMost{}, \jbCalBFewest{} to \jbCalBMost{}, \jbTestBenignFewest{} to "
        r"\jbTestBenignMost{} and \jbTestAttackFewest{} to \jbTestAttackMost{} flows (Table~\ref{tab:parts-a})."
        + (" Attacks were put among the training flows on purpose." if poisoned else "")
        + (" Several sizes of the training part were tried." if sizes else "")
    )


def _regimes(document: Board, table: ResultTable) -> str:
    asked = in_order(row.fitted for row in table.rows)
    fitted = "; or ".join(REGIMES[regime] for regime in asked if regime in REGIMES)
    control = (
        " Beside it stands its target-only control, the same detector fitted on nothing but the aggregator calibration "
        "flows of the target; the gain is what a row has more than its control."
        if any(row["control_status_counts"] for row in document["rows"])
        else ""
    )
    combined = in_order(
        row["aggregator"] for row in document["rows"] if row["aggregator"] != "identity" and not row["upper_bound"]
    )
    scores = f" Several scores of one detector are combined by {_listed(map(code, combined))}." if combined else ""
    shown = in_order(row["detector"] for row in document["rows"] if row["uses_labels"])
    but = f", but for {_listed(map(code, shown))}, which are given some" if shown else ""
    return (
        f"Each detector is {fitted}.{control} Calibration {code(document['calibration'])}: "
        f"{escape(CALIBRATION[document['calibration']])}.{scores} A threshold is a percentile of the scores of "
        "threshold calibration flows, which nothing else sees. No label and no test flow reaches a detector before it "
        f"is scored{but}."
    )


def _statistics(document: Board) -> str:
    name = escape(metric_name(document["metric"]))
    sites = (
        r" Inside sites, where attacks and benign flows were recorded at one place, the same number is the mean over "
        r"\jbSites{} sites."
        if "sites" in document and document["sites"]["n_sites"]
        else ""
    )
    if document["statistics"] is None:
        return f"Numbers are {name}, means over seeds, then over cells.{sites} No intervals were computed."
    others = OTHER_NETWORKS in statistics_of(document)
    on_top = rf", and with networks drawn on top{cite([OTHER_NETWORKS])} for others like them" if others else ""
    return (
        rf"Numbers are {name}, means over seeds, then over cells.{sites} Intervals (\jbConfidence{{}}\,\%) are of a "
        r"paired cluster bootstrap with \jbResamples{} resamples of captures, seeds and flows for these very networks"
        rf"{on_top}. A difference counts as one where "
        rf"its $p$ after Holm's correction{cite([CORRECTION])} over all pairs of rows is at most \jbAlpha{{}}\,\%."
    )


def _machine(table: ResultTable) -> str:
    records = {run.key: run.ok for run in table.runs if run.ok is not None}.values()
    counts = Counter(
        (record.environment.get("processor", "a processor that was not recorded"), record.environment.get("cores", ""))
        for record in records
    )
    machines = [
        f"{code(processor)}{f' ({code(cores)} cores)' if cores else ''}"
        for (processor, cores), _ in counts.most_common()
    ]
    versions = {
        library: in_order(sorted({found for record in records if (found := record.environment.get(library))}))
        for library in LIBRARIES
    }
    software = [f"{library} {code(' and '.join(found))}" for library, found in versions.items() if found]
    devices = in_order(record.spec["device"] for record in records)
    where = _listed(machines) or "a machine that was not recorded"
    device = f", device {_listed(map(code, devices))}" if devices else ""
    with_libraries = f", with {_listed(software)}" if software else ""
    return rf"The \jbFits{{}} fits trained for \jbFitTime{{}} in all on {where}{device}{with_libraries}."


def _listed(names: Iterable[str]) -> str:
    found: Sequence[str] = list(names)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else ""
