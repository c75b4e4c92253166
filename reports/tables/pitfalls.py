"""Which known pitfalls of such comparisons a results folder avoids, by which mechanism, and which it cannot exclude.

P1 to P10: Arp et al., Dos and Don'ts of Machine Learning in Computer Security, USENIX Security 2022.  A1 to A4:
Apruzzese, Laskov, Schneider, SoK: Pragmatic Assessment of Machine Learning for Network Intrusion Detection, EuroS&P
2023.  D1 to D3, of datasets (their wrong labels are P2): Engelen, Rimmer, Joosen, WTMC 2021; Liu et al., CNS 2022;
Flood et al., Bad Design Smells in Benchmark NIDS Datasets, EuroS&P 2024.

Judged by rule from what is stored: what nobody stored is never called avoided.  Standard library only.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from janus_bench.records import CLASS_SHIFT, WITHOUT_PACKETS
from janus_bench.words import counted
from reports.tables.audits import GRAVE, SEVERITIES, in_words
from reports.tables.document import Board, PitfallRecord, PitfallVerdict, SummaryName
from reports.tables.evidence import FolderFacts
from reports.tables.fields import flags, grouped, metric_name, number
from reports.tables.intervals import ranking_summary
from reports.tables.model import Table, text_table

FALSE_ALERTS_AT_1PCT = 1000
"""Benign test flows of which ten lie above a threshold for 1 % false positives: with fewer the rate, and alerts a day,
are known to less than a factor of two."""
FOR_P99 = 100  # Calibration flows below which there is no threshold at 1 % false positives.
SEEDS = 3  # With fewer, the half width of an interval over seeds is more than six times their standard deviation.
TELLING = 0.8  # A control that reaches this AUROC tells attacks apart by what is no attack.

WHY_WIDTH = 64  # Reasons wrap at this width in a terminal.

NOT_AVOIDED: PitfallVerdict = "not avoided"
AVOIDED: PitfallVerdict = "avoided"
OPEN: PitfallVerdict = "cannot be excluded"

Judgement = tuple[PitfallVerdict, str]


@dataclass(frozen=True)
class Folder:
    """What is judged: a leaderboard document, and what else its results folder tells."""

    board: Board
    facts: FolderFacts

    @property
    def ranking(self) -> SummaryName:
        return ranking_summary(self.board)

    @property
    def synthetic(self) -> list[str]:
        return [name for name, info in self.board["datasets_info"].items() if info["synthetic"]]

    @property
    def unaudited(self) -> list[str]:
        lacking = [name for name in self.board["datasets"] if name not in self.board.get("audits", {})]
        return _if(lacking, f"no audit at hand of {_listed(lacking)}")

    def warnings(self, *kinds: str) -> list[str]:
        """``home: attacks from other networks``, of every dataset with warnings of such kinds."""
        return self._findings(kinds, GRAVE)

    def notes(self, *kinds: str) -> list[str]:
        """The same of what is worth knowing, too."""
        return self._findings(kinds, SEVERITIES)

    def _findings(self, kinds: Sequence[str], severities: Sequence[str]) -> list[str]:
        """``kinds``: beginnings of the keys of findings."""
        words = {
            name: in_words(
                [
                    each
                    for each in findings
                    if each["severity"] in severities
                    and any(f"{each['key']}.".startswith(f"{kind}.") for kind in kinds)
                ],
                listed=1,
            )
            for name, findings in self.board.get("audits", {}).items()
        }
        return [f"{name}: {found}" for name, found in words.items() if found]


@dataclass(frozen=True)
class Pitfall:
    """``judge``: the verdict on a folder, and by which mechanism it is avoided or why not."""

    key: str
    name: str
    judge: Callable[[Folder], Judgement]


def _judged(bad: Iterable[str], unclear: Iterable[str], mechanism: str) -> Judgement:
    """The gravest that there are reasons for; without any it is avoided."""
    for verdict, reasons in ((NOT_AVOIDED, [*bad]), (OPEN, [*unclear])):
        if reasons:
            return verdict, "; ".join(reasons)
    return AVOIDED, mechanism


def _if(true: object, reason: str) -> list[str]:
    return [reason] if true else []


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


# -- Arp et al. --------------------------------------------------------------------------------------------------------


def _sampling(folder: Folder) -> Judgement:
    made, networks = folder.synthetic, folder.board["datasets"]
    single = [name for name, of in folder.facts.captures.items() if 1 in of[:2]]
    captures = sum(of[2] for of in folder.facts.captures.values())
    rests = f"{counted(len(networks), 'network')}, {counted(captures, 'capture')} with labelled flows"
    return _judged(
        [
            *_if(made, f"generated, not recorded: {_listed(made)}"),
            *_if(len(networks) == 1, "one network"),
            *_if(single, f"one class comes from a single capture: {_listed(single)}"),
        ],
        [f"{rests}: whether they are like others is not known"],
        "",
    )


def _labels(folder: Folder) -> Judgement:
    made = folder.synthetic
    poisoned = [
        name
        for name, info in folder.board["datasets_info"].items()
        if any(partition.get("attacks_in_train") for partition in info["partitions"].values())
    ]
    noted = [name for name, info in folder.board["datasets_info"].items() if info["notes"]]
    recorded = [name for name in folder.board["datasets"] if name not in made]
    shifted = [name for name, info in folder.board["datasets_info"].items() if info["task"] == CLASS_SHIFT]
    return _judged(
        [
            *_if(shifted, f"positives are no attacks: {_listed(shifted)}"),
            *_if(poisoned, f"attacks among the benign training flows (contamination): {_listed(poisoned)}"),
            *folder.warnings("coverage", "origins.captures"),
        ],
        [
            *_if(noted and recorded, f"known defects are noted: {_listed(noted)}"),
            *(folder.unaudited if recorded else []),
            *_if(recorded, "flows without a label are dropped, never benign; no label was checked by hand"),
        ],
        "labels are those of the generator",
    )


def _snooping(folder: Folder) -> Judgement:
    shown = [row["detector"] for row in folder.board["rows"] if row["uses_labels"]]
    kept = (
        "a detector runs in a process that sees no label and no test flow before it is scored; aggregator and "
        "thresholds come from flows that are not tested"
    )
    ordered = folder.board["split"] in ("time", "drift")
    return _judged(
        [
            *_if(folder.board["split"] == "random", "random split: parts of one capture are trained on and tested"),
            *_if(shown, f"attack labels or test flows reach {_listed(shown)}"),
        ],
        _if(not ordered, f"{kept}, but training flows may be younger than test flows (--protocol time orders them)"),
        f"{kept}; training flows are the earliest",
    )


def _spurious(folder: Folder) -> Judgement:
    targets = folder.board["sites"]["targets"] if "sites" in folder.board else {}
    apart = [name for name, of in targets.items() if of["sites"] and not of["shared"]]
    without = [name for name in folder.board["datasets"] if not (name in targets and targets[name]["counted"])]
    ranking = folder.ranking
    auroc = "auroc" in folder.board["metric"]
    telling = [
        f"{row['detector']} has {number(value)} ({metric_name(folder.board['metric'])})"
        for row in folder.board["rows"]
        if auroc and row["provenance"] == "control" and (value := row["summary"][ranking]) is not None
        if max(value, 1 - value) >= TELLING
    ]
    kinds = ("origins.apart", "mirrored", "caps", "one_packet", "separability", "captures", "context")
    return _judged(
        [
            *folder.warnings(*kinds),
            *_if(telling, f"a control tells attacks apart: {_listed(telling)}"),
            *_if(apart, f"benign and attack flows never share a site: {_listed(apart)}"),
        ],
        [*folder.unaudited, *_if(without, f"no number inside a site: {_listed(without)}")],
        "audits without a warning, controls near chance, and numbers inside sites beside the pooled ones",
    )


def _selection(folder: Folder) -> Judgement:
    chosen = [row["detector"] for row in folder.board["rows"] if row["upper_bound"]]
    settings = grouped((row["name"], row["detector"]) for row in folder.board["rows"] if not row["upper_bound"])
    several = [name for name, labels in settings.items() if len(labels) > 1]
    return _judged(
        _if(chosen, f"score chosen with the labels of the test: {_listed(chosen)}"),
        [
            *_if(several, f"several settings of {_listed(several)}: the best of them would be chosen by the test"),
            "every row was declared before it ran and its threshold comes from calibration flows, but on which data "
            "its settings were found is not stored",
        ],
        "",
    )


def _baseline(folder: Folder) -> Judgement:
    ranking = folder.ranking
    rows = [row for row in folder.board["rows"] if row["summary"][ranking] is not None]
    controls = [row["detector"] for row in rows if row["provenance"] == "control"]
    simple = [row["detector"] for row in rows if row["detector"] in folder.facts.simple]
    beside = [row["detector"] for row in rows if row["control_summary"][ranking] is not None]
    return _judged(
        [
            *_if(not beside, "no complete target-only control beside a row"),
            *_if(not controls, "no control that learns nothing (length, random)"),
            *_if(not simple and not folder.facts.unknown, "no simple detector (group classical)"),
        ],
        _if(
            not simple, f"not installed here, so that nobody knows how simple they are: {_listed(folder.facts.unknown)}"
        ),
        f"target-only controls of {counted(len(beside), 'row')}; {_listed(controls)}; "
        f"simple detectors: {_listed(simple)}",
    )


def _measures(folder: Folder) -> Judgement:
    there, runs = folder.facts.low_fpr
    return _judged(
        _if(
            there < runs, f"{runs - there} of {counted(runs, 'run')} have no TPR at 1 % FPR: too few benign test flows"
        ),
        _if(not runs, "no run with attacks is ok"),
        f"beside AUROC each of {counted(runs, 'run')} has TPR at 1 % FPR, the mean over families, and precision and "
        "recall at thresholds from calibration flows",
    )


def _base_rate(folder: Folder) -> Judgement:
    fewest = grouped(
        (cell["target"], cell["n_test_benign"])
        for row in folder.board["rows"]
        for cell in row["cells"]
        if cell["n_test_benign"] is not None
    )
    few = [f"{name} {min(counts):,}" for name, counts in fewest.items() if min(counts) < FALSE_ALERTS_AT_1PCT]
    cal_b = folder.facts.fewest_cal_b
    return _judged(
        _if(cal_b is not None and cal_b < FOR_P99, f"no threshold for 1 % false positives: {cal_b} calibration flows"),
        [
            *_if(cal_b is None, "no run with a threshold is ok"),
            *_if(few, f"alerts a day need {FALSE_ALERTS_AT_1PCT:,} benign test flows: {_listed(few)}"),
        ],
        "AUROC does not depend on it; --table alerts has alerts a day and PPV at the base rates of an operator",
    )


def _lab(folder: Folder) -> Judgement:
    made = folder.synthetic
    nearer = [name for name in ("operational", "time", "drift") if name in folder.facts.protocols]
    return _judged(
        _if(made, f"generated, not recorded: {_listed(made)}"),
        [
            "recorded traffic, replayed; "
            + (
                f"nearer to operation: protocol {_listed(nearer)}"
                if nearer
                else "--protocol operational and drift come nearer to operation"
            )
        ],
        "",
    )


def _threat(folder: Folder) -> Judgement:
    shares = _listed(f"{share:g}" for share in folder.facts.contaminations)
    return _judged(
        _if(not shares, "no attacker here knows of the detector: none evades it, none poisons its training flows"),
        _if(shares, f"training flows poisoned (shares {shares}), but no attacker evades the detector"),
        "",
    )


# -- Apruzzese et al. --------------------------------------------------------------------------------------------------


def _hardware(folder: Folder) -> Judgement:
    known, runs = folder.facts.with_hardware
    return _judged(
        _if(
            known < runs,
            f"{runs - known} of {counted(runs, 'run')} do not say on which processor, and how long they took",
        ),
        _if(not runs, "no run is ok"),
        f"each of {counted(runs, 'run')} has its processor, versions, seconds and peak memory",
    )


def _repetition(folder: Folder) -> Judgement:
    seeds = len(folder.board["seeds"])
    return _judged(
        _if(seeds == 1, "one seed: the spread over seeds is unknown"),
        _if(seeds < SEEDS, f"{counted(seeds, 'seed')} say{'s' if seeds == 1 else ''} little of the spread over seeds"),
        f"{counted(seeds, 'seed')}; intervals over captures, seeds and flows, and Holm's correction "
        "(leaderboard, compare)",
    )


def _amount(folder: Folder) -> Judgement:
    return _judged(
        _if(folder.facts.train_sizes < 2, "one amount of training flows (--protocol train-size has several)"),
        (),
        f"{folder.facts.train_sizes} amounts of training flows",
    )


def _unseen(folder: Folder) -> Judgement:
    shown = [row["detector"] for row in folder.board["rows"] if row["uses_labels"]]
    across = "; tested across networks" if folder.ranking == "cross_mean" else ""
    return _judged(
        _if(shown, f"attack labels or test flows reach {_listed(shown)}"),
        _if(folder.facts.contaminations, "training flows hold attacks of the families that are tested"),
        f"detectors are fitted on benign flows: every attack is unknown to them{across}",
    )


# -- datasets ----------------------------------------------------------------------------------------------------------


def _construction(folder: Folder) -> Judgement:
    tables = [
        name
        for name, info in folder.board["datasets_info"].items()
        if any(note.startswith(WITHOUT_PACKETS) for note in info["notes"])
    ]
    return _judged(
        (),
        _if(tables, f"flows and features are those of the tool that wrote the table: {_listed(tables)}"),
        "flows and features are computed from the captures by one decoder, the same for every dataset",
    )


def _dependent(folder: Folder) -> Judgement:
    return _judged(
        folder.warnings("separability"),
        [*folder.notes("separability"), *folder.unaudited],
        "audits: no single property of a flow tells attacks from benign flows",
    )


def _diversity(folder: Folder) -> Judgement:
    kinds = ("duplicates", "one_packet", "captures.repeated")
    return _judged(
        folder.warnings(*kinds),
        [*folder.notes(*kinds), *folder.unaudited],
        "audits: few flows repeat each other, and few attacks are a single packet",
    )


PITFALLS = (
    Pitfall("P1", "Sampling bias", _sampling),
    Pitfall("P2", "Label inaccuracy", _labels),
    Pitfall("P3", "Data snooping", _snooping),
    Pitfall("P4", "Spurious correlations", _spurious),
    Pitfall("P5", "Biased parameter selection", _selection),
    Pitfall("P6", "Inappropriate baseline", _baseline),
    Pitfall("P7", "Inappropriate performance measures", _measures),
    Pitfall("P8", "Base rate fallacy", _base_rate),
    Pitfall("P9", "Lab-only evaluation", _lab),
    Pitfall("P10", "Inappropriate threat model", _threat),
    Pitfall("A1", "Hardware and run time left out", _hardware),
    Pitfall("A2", "No repetition, no test of significance", _repetition),
    Pitfall("A3", "One amount of training data", _amount),
    Pitfall("A4", "Only known attacks", _unseen),
    Pitfall("D1", "Flows built wrongly", _construction),
    Pitfall("D2", "Highly dependent features", _dependent),
    Pitfall("D3", "Poor or artificial diversity", _diversity),
)

PITFALL_NOTES = (
    "P: Arp et al., USENIX Security 2022; A: Apruzzese et al., EuroS&P 2023; D: Engelen et al., WTMC 2021, Liu et al., "
    "CNS 2022, Flood et al., EuroS&P 2024",
    "judged by rule from what is stored: what is not stored, or what no measure here sees, cannot be excluded",
)


def pitfall_records(document: Board, facts: FolderFacts) -> list[PitfallRecord]:
    """One per pitfall, in the order of ``PITFALLS``."""
    found: list[PitfallRecord] = []
    for pitfall in PITFALLS:
        verdict, why = pitfall.judge(Folder(document, facts))
        found.append({"pitfall": pitfall.key, "name": pitfall.name, "verdict": verdict, "why": why})
    return found


def pitfall_tables(document: Board, records: Sequence[PitfallRecord]) -> list[Table]:
    rows = [(record["pitfall"], record["name"], record["verdict"], record["why"]) for record in records]
    table = text_table(
        f"Checklist of pitfalls{flags(document)}", ("id", "pitfall", "here", "why"), rows, left=2, notes=2
    )
    *others, why = table.columns
    return [replace(table, columns=[*others, replace(why, wrap=WHY_WIDTH)])]
