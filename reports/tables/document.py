"""The leaderboard document, key by key: what every renderer is given and what ``leaderboard --format json`` prints.
Standard library only.

A renderer of a plugin receives it as a plain mapping.  A number that does not exist is None, never 0.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

from janus_bench.records import StoredPartition

SummaryName = Literal["within_mean", "cross_mean", "cross_worst"]
SUMMARIES: tuple[SummaryName, ...] = ("within_mean", "cross_mean", "cross_worst")
Summary = Mapping[SummaryName, float | None]
Params = Mapping[str, object]


class Cost(TypedDict):
    """fit_s, flows_per_s: means over fits; peak_rss_mb: the highest of any."""

    fit_s: float | None
    flows_per_s: float | None
    peak_rss_mb: float | None


class BoardInterval(TypedDict):
    """Of a row's mean: for other networks like these, and (``_these``) for other captures, seeds and flows of these
    very networks.

    reason  why there is no interval, else empty; group: letters of the tie groups
    """

    low: float | None
    high: float | None
    reason: str
    group: str
    low_these: float | None
    high_these: float | None
    reason_these: str
    group_these: str


class Difference(TypedDict):
    """A paired difference with its 95 % intervals for other networks and for these; p-values after Holm's correction
    over all that stand beside it, None where there is no test."""

    difference: float
    low: float | None
    high: float | None
    p_holm: float | None
    low_these: float | None
    high_these: float | None
    p_these_holm: float | None


class BoardCell(TypedDict):
    """One source → target of a row, over its ``n_seeds`` seeds with a number.

    control  the mean of the target-only baseline, if all its seeds have a number
    site_mean, control_site  … inside the target's sites, beside a pooled number (``SiteView``)
    status   of the worst seed, ``ok`` if all are; n_train … n_test_attack: the fewest of any seed
    """

    source: str
    target: str
    metric: str
    mean: float | None
    std: float | None
    n_seeds: int
    low: float | None
    high: float | None
    control: float | None
    site_mean: NotRequired[float | None]
    control_site: NotRequired[float | None]
    status: str
    reason: str
    params: Params
    aggregator: str | None
    n_train: int | None
    n_cal: int | None
    n_test_benign: int | None
    n_test_attack: int | None


class BoardRow(TypedDict):
    """One detector, or one of its variants.

    detector     the row's label; name: the registered detector
    upper_bound  whether its score is chosen with the labels of the test
    params       those with one value in all cells
    rank         None for an incomplete row and for an upper bound
    control_*    of the target-only baseline
    target_use   what became of the target's benign calibration flows (``protocols.roles.use_of_target``), ``nothing``
                 if they were not used; None where the plan does not say what the detector does
    site_summary, control_site_summary  inside sites, beside a pooled number (``SiteView``)
    macro_summary  of the mean over families, beside a pooled AUROC whose runs have stored it
    train_size   how many training flows it was to have, where that is part of the row
    intervals    of ``within_mean`` and ``cross_mean``, where they were computed and exist
    gain         what it has more than its target-only baseline in the mean that decides ranks, where it was tested
    """

    detector: str
    name: str
    aggregator: str
    upper_bound: bool
    group: str
    params: Params
    provenance: str
    uses_labels: bool
    target_use: NotRequired[str | None]
    versions: list[str]
    rank: int | None
    status_counts: Mapping[str, int]
    control_status_counts: Mapping[str, int]
    control_reason: str
    summary: Summary
    summary_std: Summary
    control_summary: Summary
    control_summary_std: Summary
    site_summary: NotRequired[Summary]
    control_site_summary: NotRequired[Summary]
    macro_summary: NotRequired[Summary]
    train_size: NotRequired[int]
    collapse_cells: int | None
    cost: Cost
    intervals: Mapping[SummaryName, BoardInterval]
    gain: NotRequired[Difference]
    cells: list[BoardCell]


BoardPartition = StoredPartition


class DatasetInfo(TypedDict):
    """``partitions``: seed → partition."""

    flows: int | None
    benign: int | None
    attack: int | None
    synthetic: bool
    task: str
    notes: list[str]
    partitions: Mapping[str, BoardPartition]


class SitesOfTarget(TypedDict):
    """``sites``: every named one → its ``benign`` and ``attack`` test flows, the fewest of any seed; ``counted``: those
    in the view.

    attacks_outside  attack test flows of no site that counts, the most of any seed
    shared           whether some site has both benign and attack test flows
    """

    counted: list[str]
    sites: Mapping[str, Mapping[str, int]]
    attacks_outside: int
    shared: bool


class SiteView(TypedDict):
    """The view ``@site`` (``reports.results.sites``): target → its sites; ``n_sites``: how many of all targets count,
    that is, have so many benign and attack test flows in every seed.

    reason  why nothing is known, though the results could tell: a stored file is missing
    """

    metric: str
    n_sites: int
    fewest_benign: int
    fewest_attack: int
    targets: Mapping[str, SitesOfTarget]
    reason: str


class AuditFinding(TypedDict):
    """What the audit of a dataset found beyond a threshold; ``short``: the same in a few words."""

    key: str
    severity: str
    text: str
    short: str
    action: str


class BoardStatistics(TypedDict):
    """What intervals were made with; ``absent``: summary → row → why it has none."""

    metric: str
    resamples: int
    warning: str | None
    absent: Mapping[str, Mapping[str, str]]


class _OfCell(TypedDict):
    """Of one cell, in a record of a table that stands in place of the leaderboard; ``source`` None: of the target-only
    baseline."""

    detector: str
    source: str | None
    target: str
    n_seeds: int


class ThresholdRecord(_OfCell):
    """Of a cell at one threshold."""

    threshold: str
    fpr: float | None
    fpr_low: float | None
    fpr_high: float | None
    recall: float | None
    precision: float | None
    f1: float | None
    n_benign: int | None
    n_attack: int | None
    n_cal: int | None


class AlertRecord(_OfCell):
    """Of a cell at one threshold and base rate; ``reason``: why there are no numbers."""

    threshold: str
    base_rate: float
    flows_per_day: int
    fpr: float | None
    recall: float | None
    false_alerts: float | None
    false_alerts_low: float | None
    false_alerts_high: float | None
    true_alerts: float | None
    ppv: float | None
    ppv_low: float | None
    ppv_high: float | None
    reason: str


class FamilyRecord(_OfCell):
    """Of a cell and attack family; ``in_macro``: whether the macro average counts it."""

    family: str
    auroc: float | None
    n_test: int
    in_macro: bool


class IncidentRecord(_OfCell):
    """Of a cell at one threshold (``reports.tables.evidence.IncidentEvidence``); ``reason``: why there are no numbers,
    ``day_reason`` and ``interval_reason``: why some are missing."""

    threshold: str
    window_s: float
    campaigns: float | None
    found: float | None
    found_share: float | None
    found_share_low: float | None
    found_share_high: float | None
    found_in_60s: float | None
    found_in_60s_low: float | None
    found_in_60s_high: float | None
    seconds_to_alert: float | None
    seconds_to_alert_low: float | None
    seconds_to_alert_high: float | None
    flows_to_alert: float | None
    missed_windows: float | None
    true_incidents: float | None
    false_incidents: float | None
    observed_hours: float | None
    false_per_day: float | None
    false_per_day_low: float | None
    false_per_day_high: float | None
    alerts: float | None
    alerts_per_incident: float | None
    alerts_per_incident_low: float | None
    alerts_per_incident_high: float | None
    reason: str
    day_reason: str
    interval_reason: str


class DayRecord(_OfCell):
    """Of a cell on one day at one threshold (``reports.tables.evidence.DayEvidence``); ``drift``: ``above`` or
    ``below`` what chance allows, or empty."""

    threshold: str
    day: str
    n_benign: int
    n_attack: int
    fpr: float | None
    low: float | None
    high: float | None
    recalibrated: float | None
    auroc: float | None
    auroc_recalibrated: float | None
    reason: str
    recalibrated_reason: str
    drift: str


class _OfMeanOrCell(TypedDict):
    """Of a summary, which has neither source nor target, or of a cell."""

    detector: str
    what: SummaryName | Literal["cell"]
    source: str | None
    target: str | None
    mean: float | None
    std: float | None
    n_seeds: int


class StabilityRecord(_OfMeanOrCell):
    """``half_width`` of a 95 % interval over seeds alone."""

    half_width: float | None


class AblationRecord(_OfMeanOrCell):
    """Of a variant; see ``reports.tables.ablation.ablation_records``."""

    group: str
    variant: str
    upper_bound: bool
    reference: bool
    aggregator: str
    delta: float | None
    likeness: float | None
    likeness_auroc: float | None
    in_means: bool
    status: str
    reason: str


PitfallVerdict = Literal["avoided", "not avoided", "cannot be excluded"]


class PitfallRecord(TypedDict):
    """Of the whole folder: whether it avoids a pitfall (``reports.tables.pitfalls``); ``why``: by which mechanism, or
    what it has of it."""

    pitfall: str
    name: str
    verdict: PitfallVerdict
    why: str


DetailRecord = (
    DayRecord
    | IncidentRecord
    | ThresholdRecord
    | AlertRecord
    | FamilyRecord
    | StabilityRecord
    | AblationRecord
    | PitfallRecord
)


class Details(TypedDict):
    """``table``: a name of ``reports.tables.details.TABLES``; its records are all of one kind."""

    table: str
    title: str
    records: Sequence[DetailRecord]


Lead = Literal["none", "these networks", "other networks", "unknown"]


class Verdict(TypedDict):
    """What a table says, by the rules of ``reports.tables.verdict``.

    sentences     in the order of their weight;  not_to_conclude: what nobody should take from the table
    first, next   labels of the first two ranked rows, None where there are fewer
    difference    of their means, with intervals; None where none were computed
    lead          whether the difference is one: beyond chance on these networks, on others like them, or not at all
    above_control, below_control  rows that are better, and worse, than their own target-only baseline beyond chance on
                   these networks, of ``with_control`` rows for which that is known
    networks, sites  how many the ranking means rest on (with a number), and how many sites count inside them
    """

    sentences: list[str]
    not_to_conclude: list[str]
    first: str | None
    next: str | None
    difference: Difference | None
    lead: Lead
    above_control: list[str]
    below_control: list[str]
    with_control: int
    networks: int
    sites: int


class Board(TypedDict):
    """Rows best first; ``datasets_info``: name → sizes and partitions; ``made_by``: versions of janus-bench that wrote
    the rows.

    What is not required of a board and of its rows and cells is absent from results of schema version 1, which know
    nothing of it; ``sites`` also where the metric is of another view.  ``verdict`` is made of all the rest;
    ``columns`` are the only ones that tables of text show, where some were asked for; ``audits``: dataset → findings,
    the gravest first, of those whose audit was at hand."""

    schema_version: int
    protocol: str
    regime: str
    calibration: str
    split: str
    profile: str
    synthetic: bool
    metric: str
    higher_is_better: bool
    aggregator: str | None
    seeds: list[int]
    datasets: list[str]
    n_expected_cells: int
    rows: list[BoardRow]
    made_by: list[str]
    datasets_info: Mapping[str, DatasetInfo]
    statistics: BoardStatistics | None
    verdict: NotRequired[Verdict]
    columns: NotRequired[list[str]]
    sites: NotRequired[SiteView]
    audits: NotRequired[Mapping[str, list[AuditFinding]]]
    notes: list[str]
    details: NotRequired[Details]


class CellInterval(TypedDict):
    """For these very networks; kept in a results folder, as ``reports.statistics.intervals.leaderboard_statistics``
    makes it."""

    source: str
    target: str
    low: float | None
    high: float | None
    reason: str


class RowStatistics(BoardInterval):
    """A row's mean with its intervals, and those of its cells."""

    mean: float
    cells: list[CellInterval]


class Duel(Difference):
    """``first`` minus ``second``, two rows; corrected over all pairs."""

    first: str
    second: str


class SummaryStatistics(TypedDict):
    """``detectors``: label → its numbers; ``gains``: label → what it has more than its target-only baseline, of rows
    whose baseline is complete, corrected over these."""

    detectors: Mapping[str, RowStatistics]
    tests: list[Duel]
    gains: Mapping[str, Difference]


class TableStatistics(BoardStatistics):
    """``summaries``: those in which a row is complete."""

    summaries: Mapping[SummaryName, SummaryStatistics]
