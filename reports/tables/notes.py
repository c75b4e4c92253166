"""The lines printed under every table: what a reader has to know before believing a number."""

from collections.abc import Sequence
from statistics import fmean

from janus_bench.records import CLASS_SHIFT, OVERLAID
from reports.results.sites import SITE
from reports.tables.document import Board, BoardCell
from reports.tables.fields import DAGGER, UPPER_BOUND, grouped
from reports.tables.intervals import interval_notes, ranking_summary
from reports.tables.sites import site_notes

CALIBRATION = {
    "target_benign": "aggregator and thresholds use benign flows of the target",
    "source_benign": "the aggregator uses benign flows of the source, thresholds use benign flows of the target",
    "none": "nothing is calibrated on the target; thresholds use benign flows of the target",
}
PARTITION = {
    "grouped": "partition by whole captures",
    "time blocks": "partition by time blocks inside captures",
    "grouped and time blocks": "partition by whole captures, in some sites by time blocks inside them",
    "random": "partition by random sessions",
    "time": "partition by time: train on the earliest benign flows, test on the latest",
    "drift": "partition by days: train and calibrate on the earliest, test on all later ones",
}


def notes_of(document: Board) -> list[str]:
    """The notes of a leaderboard document, most important first."""
    rows, infos = document["rows"], document["datasets_info"]
    synthetic = ", ".join(name for name, info in infos.items() if info["synthetic"])
    shifted = ", ".join(name for name, info in infos.items() if info["task"] == CLASS_SHIFT)
    quiet = ", ".join(name for name, info in infos.items() if info["attack"] == 0)
    return [
        *_if(
            synthetic,
            f"SYNTHETIC DATA: {synthetic} (generated, not captured); these numbers say nothing about real networks",
        ),
        *(
            f"{', '.join(names)}: {note}"
            for note, names in grouped((note, name) for name, info in infos.items() for note in info["notes"]).items()
        ),
        *_if(
            shifted,
            f"{shifted}: a class-shift task, not attacks; cells that test on it are left out of means and worst cells",
        ),
        *_if(
            quiet,
            f"{quiet}: no attacks; cells that test on it tell false alerts alone (--table thresholds) and are left "
            "out of means and worst cells",
        ),
        _calibration(document),
        *_if(any(row["control_status_counts"] for row in rows), BASELINE),
        *_partitions(document),
        *_if(document["split"] == "random", RANDOM_SPLIT),
        *_if(document["protocol"].endswith(OVERLAID), f"{OVERLAY}{_changed(document)}"),
        _seeds(document),
        *interval_notes(document),
        *_metric(document),
        *(site_notes(document["sites"]) if "sites" in document else []),
        *_if(any(row.get("target_use") for row in document["rows"]), TARGET_USE),
        *_if(
            document["aggregator"],
            f"several score columns are combined by {document['aggregator']} instead of the detector's own aggregator",
        ),
        *_fewer_than_asked(document),
        *_versions(document),
        *_chosen_afterwards(document),
        *_if(any(row["uses_labels"] for row in rows), f"{DAGGER} uses attack labels or unlabelled test flows"),
        *_if(any(row["upper_bound"] for row in rows), f"{UPPER_BOUND} {CHOSEN_BY_LABELS}"),
    ]


def _fewer_than_asked(document: Board) -> list[str]:
    """Rows of a size of the training part that a network does not have."""
    short = [
        (cell["source"], cell["n_train"], row["train_size"])
        for row in document["rows"]
        if "train_size" in row
        for cell in row["cells"]
        if cell["n_train"] is not None and cell["n_train"] < row["train_size"]
    ]
    return [
        f"{source} has {there:,} training flows, which every row of more was trained on ({', '.join(sizes)})"
        for (source, there), sizes in grouped(
            ((source, there), f"{asked:,}") for source, there, asked in sorted(set(short))
        ).items()
    ]


BASELINE = (
    "control = the same detector fitted on nothing but the target's benign calibration flows; gain = transfer "
    "minus control"
)
TARGET_USE = (
    "target flows: what a detector did with the target's benign calibration flows, thresholds apart; rows that differ "
    "in it did not have equal information"
)
RANDOM_SPLIT = (
    "--split random: benign traffic repeats itself, so this split rewards memory; for comparison with the "
    "literature only"
)
OVERLAY = (
    "--overlay: the test captures of a site lie over each other in time; rows of detectors that see no neighbours are "
    "those without it"
)
CHOSEN_BY_LABELS = (
    "best single score of each cell, chosen with the labels of the test: an ablation upper bound, never ranked"
)


def _if(true: object, note: str) -> list[str]:
    return [note] if true else []


def _calibration(document: Board) -> str:
    cross = ranking_summary(document) == "cross_mean"
    kind = document["calibration"]
    title = {"target_benign": "calibrated ", "source_benign": "source-calibrated ", "none": "uncalibrated "}[kind]
    return f"{title}{'cross-domain transfer' if cross else 'within-domain detection'}: {CALIBRATION[kind]}"


def _partitions(document: Board) -> list[str]:
    """One line per kind of partition; the seeds are named where a dataset's kind differs between them."""
    members = []
    for name, info in document["datasets_info"].items():
        drawn = grouped((partition["kind"], seed) for seed, partition in info["partitions"].items())
        for kind, seeds in drawn.items():
            only = f"seeds {', '.join(seeds)}" if len(drawn) > 1 else ""
            details = "; ".join(filter(None, [only, info["partitions"][seeds[0]].get("reason", "")]))
            members.append((kind, f"{name} ({details})" if details else name))
    return [
        f"{PARTITION.get(kind, f'partition: {kind}')}: {', '.join(names)}" for kind, names in grouped(members).items()
    ]


def _changed(document: Board) -> str:
    """How much of the test an overlay reached, the mean over seeds: where captures share no hosts it changes
    nothing."""
    shares = {
        name: [part["context_changed"] for part in info["partitions"].values() if "context_changed" in part]
        for name, info in document["datasets_info"].items()
    }
    listed = ", ".join(f"{name} {fmean(found):.1%}" for name, found in shares.items() if found)
    return f"; test flows whose context it changed: {listed}" if listed else ""


def _seeds(document: Board) -> str:
    seeds = document["seeds"]
    if len(seeds) == 1:
        return f"single seed ({seeds[0]}): the spread over seeds is unknown"
    unequal = len({sum(row["status_counts"].values()) for row in document["rows"]}) > 1
    more = "; not every detector was asked for all of them (see n_seeds of the cells)" if unequal else ""
    return f"± is the sample standard deviation over seeds {', '.join(map(str, seeds))}{more}"


def _metric(document: Board) -> list[str]:
    name, _, view = document["metric"].partition("@")
    return [
        *_if(view and f"@{view}" != SITE, f"{document['metric']}: only test flows with {view} packets"),
        *_if(not document["higher_is_better"], f"{name}: lower is better, and worst is the highest cell"),
        *(_base_rates([cell for row in document["rows"] for cell in row["cells"]]) if name == "auprc" else []),
    ]


def _base_rates(cells: Sequence[BoardCell]) -> list[str]:
    """AUPRC means nothing without the share of attacks, which is what a random score reaches."""
    shares = {
        cell["target"]: cell["n_test_attack"] / (cell["n_test_attack"] + cell["n_test_benign"])
        for cell in cells
        if cell["n_test_attack"] is not None and cell["n_test_benign"]
    }
    listed = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
    return _if(listed, f"AUPRC of a random score = share of attacks among test flows: {listed}")


def _versions(document: Board) -> list[str]:
    """Numbers of different versions may stand in one table, but not unmarked."""
    made_by = document["made_by"]
    mixed = "; ".join(
        f"{row['detector']} ({', '.join(row['versions'])})" for row in document["rows"] if len(row["versions"]) > 1
    )
    lines = _if(len(made_by) > 1, f"MIXED VERSIONS: rows were made by janus-bench {', '.join(made_by)}")
    return [*lines, *_if(mixed, f"MIXED VERSIONS of a detector in one row: {mixed}")]


def _chosen_afterwards(document: Board) -> list[str]:
    """Rows that differ in nothing but the aggregator: whoever picks the best of them has chosen with the labels of the
    test."""
    own = [row for row in document["rows"] if not row["upper_bound"]]
    alike = grouped(
        (repr((row["name"], [sorted(cell["params"].items()) for cell in row["cells"]])), row) for row in own
    )
    lines = []
    for rows in alike.values():
        names = sorted({row["aggregator"] for row in rows})
        if len(names) > 1:
            means = [mean for row in rows if (mean := row["summary"][ranking_summary(document)]) is not None]
            word = ranking_summary(document).replace("_", " ")
            spread = f"; {word} from {min(means):.3f} to {max(means):.3f}" if means else ""
            what = f"{len(names)} aggregators were evaluated on the same scores ({', '.join(names)})"
            lines.append(f"{rows[0]['name']}: {what}, so the best of them is chosen post hoc{spread}")
    return lines
