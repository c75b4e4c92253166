"""Flows that occur more than once: within a label, between training and test, between benign and attack.

Two flows are *exact twins* when their stored packets agree one by one in direction, flags, size, TCP window and time
gap rounded to 1 ms, and *near twins* when they agree in direction, flags and size.  Sequences are compared by a 64-bit
hash: with a million flows two different ones meet with a probability of 3e-8.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from datasets_registry.audits.view import Answer, AuditView, Finding, Ids, Measured, judged, percent, share
from janus_bench.hashing import splitmix64

IN_TRAINING = 0.50  # Share of benign test flows with a twin in training from which a note is made.
SPLIT_GAIN = 0.10  # What a random split may add to that share before a note says that it rewards memory.
LIKE_BENIGN = 0.10
"""Share of attack flows with an exact twin among benign training flows from which a warning is given."""
ONE_PATTERN = 0.50  # Share of attack flows that repeat one and the same sequence, from which a note is made.

Hashes = NDArray[np.uint64]


def sequence_hashes(view: AuditView, *, exact: bool) -> Hashes:
    """Equal for flows whose packet sequences are exact (or near) twins, (N,) uint64."""
    position = np.arange(len(view.flow_of_packet)) - view.offsets[view.flow_of_packet]
    word = (
        view.bits.astype(np.uint64)
        | view.packets["size"].astype(np.uint64) << np.uint64(8)
        | position.astype(np.uint64) << np.uint64(48)
    )
    if exact:
        word |= view.packets["win"].astype(np.uint64) << np.uint64(24)
    mixed = splitmix64(word)
    if exact:
        milliseconds = np.rint(view.packets["iat"].astype(np.float64) / 1000).astype(np.uint64)
        mixed = splitmix64(mixed ^ milliseconds)
    # Positions are in the words, so the sum (modulo 2**64) tells the order of the packets, and their number.
    return np.add.reduceat(mixed, view.offsets[:-1])


def duplicates(view: AuditView, grouped: Mapping[str, Ids], random: Mapping[str, Ids]) -> Answer:
    """Twins within benign and attack flows, and of test flows in train, for the grouped partition and for a random
    one."""
    measures: list[Measured] = []
    twins: dict[tuple[str, str, str], Measured] = {}
    for kind, exact in (("exact", True), ("near", False)):
        hashes = sequence_hashes(view, exact=exact)
        longer = view.stored >= 2
        for label, chosen in (("benign", ~view.attack), ("attack", view.attack)):
            measures.append(_within(hashes, chosen, longer, kind, label))
        for split, parts in (("grouped", grouped), ("random", random)):
            for part, label in (("test_benign", "benign"), ("test_attack", "attack")):
                if split == "random" and label == "attack":
                    continue
                hit = np.isin(hashes[parts[part]], hashes[parts["train"]])
                key = f"duplicates.{kind}_{label}_in_train_{split}"
                what = f"{kind} twins: {label} test flows with one in benign train, {split} split"
                detail = _of_longer(hit, longer[parts[part]])
                is_judged = (kind, label) == ("near", "benign") or (kind, label) == ("exact", "attack")
                twins[kind, label, split] = Measured(key, what, "share", share(hit), detail, judged=is_judged)
                measures.append(twins[kind, label, split])
    return Answer(measures, _judge(twins, measures))


def _of_longer(hit: NDArray[np.bool_], longer: NDArray[np.bool_]) -> dict[str, float | None]:
    """One-packet flows are twins by the thousand; the share among the others stands beside."""
    return {"2+ packets": share(hit[longer])}


def _within(hashes: Hashes, chosen: NDArray[np.bool_], longer: NDArray[np.bool_], kind: str, label: str) -> Measured:
    _, code, counts = np.unique(hashes[chosen], return_inverse=True, return_counts=True)
    detail = {
        **_of_longer(counts[code] > 1, longer[chosen]),
        "distinct": len(counts),
        "largest group": float(counts.max() / counts.sum()) if len(counts) else None,
    }
    key, what = f"duplicates.{kind}_{label}", f"{kind} twins within {label} flows"
    is_judged = key == "duplicates.exact_attack"
    return Measured(key, what, "share", share(counts[code] > 1), detail, judged=is_judged)


def _judge(twins: Mapping[tuple[str, str, str], Measured], measures: list[Measured]) -> list[Finding]:
    near, at_random = twins["near", "benign", "grouped"], twins["near", "benign", "random"]
    text = (
        f"{percent(near.value)} of the benign test flows repeat the sizes and flags of a training flow: memory "
        "does well on them"
    )
    findings = judged(near.key, near.value, text, "benign test flows repeat training flows", note=IN_TRAINING)
    text = (
        f"a random split raises the share of benign test flows with a near twin in training from {percent(near.value)} "
        f"to {percent(at_random.value)}: it rewards memory"
    )
    gain = None if near.value is None or at_random.value is None else at_random.value - near.value
    findings += judged(at_random.key, gain, text, "a random split rewards memory", note=SPLIT_GAIN)
    hidden = twins["exact", "attack", "grouped"]
    text = (
        f"{percent(hidden.value)} of the attack flows are, packet by packet, the same as a benign training flow: "
        "whatever finds them raises false alarms too"
    )
    findings += judged(hidden.key, hidden.value, text, "attack flows identical to benign ones", warning=LIKE_BENIGN)
    (repeated,) = (measure for measure in measures if measure.key == "duplicates.exact_attack")
    largest = repeated.detail["largest group"]
    text = (
        f"{percent(largest)} of the attack flows repeat one and the same packet sequence: the pooled AUROC is "
        "mostly that one pattern's"
    )
    return findings + judged(repeated.key, largest, text, "one pattern is most of the attacks", note=ONE_PATTERN)
