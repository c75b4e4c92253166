"""What a number rests on: parts that are too small, 5-tuples on both sides, and flows that stand in two captures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from datasets_registry.audits.view import Answer, AuditView, Finding, Ids, Measured, judged, percent, share
from datasets_registry.store import FlowStore
from protocols.flow_index import recorded_twice
from protocols.splits import FEW_FOR_THRESHOLDS, FEW_TESTED, small_parts

FEW_FAMILY = 20  # Attack flows of a family below which its number is mostly chance.
MIN_TRAIN = 2
JUDGED = {
    "cal_b": ("parts.thresholds", "few flows behind thresholds", FEW_FOR_THRESHOLDS),
    "test_benign": ("parts.test_benign", "few benign test flows", FEW_TESTED),
}
SHARED_NOTE, SHARED_WARNING = 0.05, 0.20
"""Share of the benign test flows whose 5-tuple has training flows, from which a note is made, and a warning given."""
CONTRADICTED = 0.01  # Share of the attack flows whose 5-tuple has benign training flows, from which a warning is given.
REPEATED = 0.01  # Share of a class's flows that stand in another capture, too, from which a warning is given.


def sizes(view: AuditView, parts: Mapping[str, Ids]) -> Answer:
    """Flows of the grouped partition's parts, before caps."""
    n = {name: len(ids) for name, ids in parts.items()}
    families = Counter(view.family[parts["test_attack"]].tolist())
    small = {name: count for name, count in sorted(families.items()) if count < FEW_FAMILY}
    measures = [
        Measured("parts.train", "benign flows to train on (grouped)", "count", n["train"]),
        Measured("parts.thresholds", "benign flows that thresholds come from (grouped)", "count", n["cal_b"]),
        Measured("parts.test_benign", "benign flows that are tested (grouped)", "count", n["test_benign"]),
        Measured("parts.families", f"families of fewer than {FEW_FAMILY} attack flows", "count", len(small), small),
    ]
    findings = []
    if n["train"] < MIN_TRAIN:
        text = f"{n['train']} benign flows to train on: no detector can be fitted"
        findings.append(Finding("parts.train", "error", text, "no training flows", n["train"], MIN_TRAIN))
    for part, text in small_parts(parts).items():
        key, short, least = JUDGED[part]
        findings.append(Finding(key, "warning", text, short, n[part], least))
    if small:
        shown = ", ".join(f"{name} {count}" for name, count in list(small.items())[:5])
        have = "1 family of attacks has" if len(small) == 1 else f"{len(small)} families of attacks have"
        text = f"{have} fewer than {FEW_FAMILY} flows ({shown}): numbers on so few are mostly chance"
        findings.append(Finding("parts.families", "warning", text, "tiny families", len(small), 1))
    return Answer(measures, findings)


def shared_tuples(view: AuditView, grouped: Mapping[str, Ids], random: Mapping[str, Ids]) -> Answer:
    """Test flows whose 5-tuple, in either direction, is that of a benign training flow.

    Inside one file they are one session, which no partition divides; across files nothing keeps them together.
    """

    def met(parts: Mapping[str, Ids], part: str) -> float | None:
        return share(np.isin(view.tuples[parts[part]], view.tuples[parts["train"]]))

    what = "{} test flows whose 5-tuple has benign training flows ({})"
    benign, attack, at_random = (met(grouped, "test_benign"), met(grouped, "test_attack"), met(random, "test_benign"))
    measures = [
        Measured("tuples.benign_in_train_grouped", what.format("benign", "grouped"), "share", benign),
        Measured("tuples.attack_in_train_grouped", what.format("attack", "grouped"), "share", attack),
        Measured("tuples.benign_in_train_random", what.format("benign", "random"), "share", at_random, judged=False),
    ]
    text = f"{percent(benign)} of the benign test flows go on with a 5-tuple of the training flows, in another file"
    short = "5-tuples in training and test"
    findings = judged(measures[0].key, benign, text, short, note=SHARED_NOTE, warning=SHARED_WARNING)
    text = (
        f"{percent(attack)} of the attack flows have the 5-tuple of a benign training flow: one connection, or a port "
        "used again, is attack in one file and benign in another"
    )
    short = "attack and benign flows of one 5-tuple"
    return Answer(measures, [*findings, *judged(measures[1].key, attack, text, short, warning=CONTRADICTED)])


def repeated(view: AuditView, store: FlowStore) -> Answer:
    """Flows that were recorded twice: one 5-tuple in two captures, within a second."""
    key, what = "captures.repeated", "flows that stand in another capture, too"
    flows = store.flows(["src_ip", "src_port", "dst_ip", "dst_port", "proto", "ts_start"])
    one, other = recorded_twice(flows, store.labels(["file"]))
    apart = view.capture[one] != view.capture[other]
    again = other[apart]
    names = store.labels(["source"])["source"]
    both = zip(names[one[apart]].to_list(), names[again].to_list(), strict=True)
    # Which of two recorders was the first to see a flow says nothing: "A and B" are the same two as "B and A".
    pairs = Counter((min(two), max(two)) for two in both)
    detail: dict[str, object] = {
        "benign": int((~view.attack[again]).sum()),
        "attack": int(view.attack[again].sum()),
        **{f"{a} and {b}": count for (a, b), count in pairs.most_common(3)},
    }
    twice = view.attack[again]
    shares = [float((twice == kind).sum() / max(1, (view.attack == kind).sum())) for kind in (False, True)]
    (first, second), most = pairs.most_common(1)[0] if pairs else (("", ""), 0)
    text = (
        f"{len(again)} flows ({percent(max(shares))} of their class) stand in two captures, {most} of them in {first} "
        f"and {second}: they were recorded twice or published under two names; partitions and intervals take captures "
        "that share so much as one"
    )
    measure = Measured(key, what, "count", len(again), detail if pairs else {})
    return Answer([measure], judged(key, max(shares), text, "flows in two captures", warning=REPEATED))
