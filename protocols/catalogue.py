"""The built-in protocols: small declarative objects."""

from collections.abc import Sequence

from janus_bench.extensions import ProtocolSpec, Variant


def diagonal(datasets: Sequence[str]) -> list[tuple[str, str]]:
    """Each dataset with itself."""
    return [(name, name) for name in datasets]


def all_pairs(datasets: Sequence[str]) -> list[tuple[str, str]]:
    """Every ordered pair, the diagonal included."""
    return [(source, target) for source in datasets for target in datasets]


PROTOCOLS = (
    ProtocolSpec("within", "Train and test on the same network: source = target for every dataset.", diagonal),
    ProtocolSpec(
        "cross",
        "Calibrated cross-domain transfer: every ordered pair of datasets, the diagonal included (N × N cells).",
        all_pairs,
        minimum=2,
    ),
    ProtocolSpec(
        "pooled",
        (
            "Cross, and beside each detector the same one fitted on the source's training flows and the target's "
            "calibration flows together."
        ),
        all_pairs,
        regimes=("transfer", "control", "pooled"),
        minimum=2,
    ),
    ProtocolSpec(
        "thresholded",
        (
            "Cross, shown as alerts: FPR that came true, recall, precision and F1 with τ at P95, P99 and P99.9 of "
            "calibration flows B."
        ),
        all_pairs,
        regimes=("transfer",),
        table="thresholds",
    ),
    ProtocolSpec(
        "per-family",
        "Cross, shown as the AUROC of every attack family against all benign test flows.",
        all_pairs,
        table="families",
    ),
    ProtocolSpec(
        "stability",
        "Cross, shown as mean, standard deviation and 95 % half width over seeds; one seed has no spread.",
        all_pairs,
        regimes=("transfer",),
        table="stability",
    ),
    ProtocolSpec(
        "operational",
        (
            "Within, with all flows tested, shown as incidents: campaigns found, time to the first alert, false "
            "incidents a day."
        ),
        diagonal,
        regimes=("transfer",),
        variants=(Variant(caps="paper"),),
        table="incidents",
    ),
    ProtocolSpec(
        "time",
        (
            "Within, in order of time: train on the earliest benign flows, then calibrate, test on the latest; one "
            "site and one clock only."
        ),
        diagonal,
        split="time",
    ),
    ProtocolSpec(
        "drift",
        (
            "Train and calibrate on the earliest day, test every later one; with and without recalibrating on the day "
            "before.  One site and one clock only."
        ),
        diagonal,
        regimes=("transfer",),
        variants=(Variant(caps="paper"),),
        split="drift",
        table="drift",
    ),
    ProtocolSpec(
        "train-size",
        (
            "Within, with 250, 500, 1 000, 2 000 and all training flows that the profile allows; smaller sets are "
            "part of larger ones."
        ),
        diagonal,
        regimes=("transfer",),
        variants=(
            *(Variant(f"{size} flows", train_size=size) for size in (250, 500, 1_000, 2_000)),
            Variant("all flows"),
        ),
    ),
    ProtocolSpec(
        "contamination",
        (
            "Within, with 0, 1, 2, 5 and 10 % attacks among the training flows; half of the attack sessions are "
            "kept for that, never tested."
        ),
        diagonal,
        regimes=("transfer",),
        variants=tuple(Variant(f"{share:.0%} attacks", contamination=share) for share in (0.0, 0.01, 0.02, 0.05, 0.10)),
    ),
    ProtocolSpec(
        "context-contamination",
        (
            "Within, with 0, 1 and 5 % of the attack sessions left among the neighbours of benign flows; of interest "
            "for detectors that read context."
        ),
        diagonal,
        regimes=("transfer",),
        variants=tuple(Variant(f"{share:.0%} of attacks around", attacks_left=share) for share in (0.0, 0.01, 0.05)),
    ),
    ProtocolSpec(
        "preset-conmd",
        "ConMD's sizes: 10 000 training flows, at most 5 000 benign and 5 000 attack test flows, within each dataset.",
        diagonal,
        variants=(Variant(caps="conmd"),),
    ),
    ProtocolSpec(
        "preset-shafir",
        (
            "Shafir's sizes: 10 000 training flows, at most 10 000 benign and 10 000 attack test flows; every "
            "ordered pair of datasets."
        ),
        all_pairs,
        variants=(Variant(caps="shafir"),),
    ),
    ProtocolSpec(
        "preset-janus",
        (
            "The JANUS project's sizes: 10 000 training flows, all benign and attack test flows; every ordered "
            "pair of datasets."
        ),
        all_pairs,
        variants=(Variant(caps="paper"),),
    ),
)
