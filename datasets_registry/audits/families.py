"""Families one by one: how many hosts, how much time and how many different flows the flows of a family are."""

from typing import Literal

import numpy as np

from datasets_registry.audits.duplicates import sequence_hashes
from datasets_registry.audits.parts import FEW_FAMILY
from datasets_registry.audits.view import Answer, AuditView, Finding, Measured, MeasuredTable, judged, percent, share

SHORT_S = 60.0  # Seconds from the first start to the last one of a family that is a single burst.
MOST = 0.5  # Share of the attack flows that are of such families, from which a note is made.
COLUMNS: dict[str, Literal["text", "count", "hours", "share"]] = {
    **dict.fromkeys(("family", "class"), "text"),
    **dict.fromkeys(("flows", "captures", "senders", "receivers", "host pairs"), "count"),
    "span": "hours",
    **dict.fromkeys(("twins", "one packet"), "share"),
}


def families(view: AuditView) -> Answer:
    """Per family flows, captures, hosts that sent and received the first packet, pairs of hosts in either direction,
    hours from the first start to the last, and the shares of flows with an exact twin in the family and of one-packet
    flows; and how much of the attacks is one pair of hosts, or one minute, a family.

    Families of fewer than ``FEW_FAMILY`` attack flows are not judged: they are few already.
    """
    hashes, pairs = sequence_hashes(view, exact=True), np.sort(view.ends, axis=1)
    rows, judged_flows = [], {"pair": 0, "short": 0}
    for attack in (True, False):
        of_class = np.flatnonzero(view.attack == attack)
        for name in np.unique(view.family[of_class]):
            ids = of_class[view.family[of_class] == name]
            _, twin, counts = np.unique(hashes[ids], return_inverse=True, return_counts=True)
            n_pairs, span = len(np.unique(pairs[ids], axis=0)), float(np.ptp(view.start[ids]))
            hosts = (len(np.unique(view.ends[ids, side])) for side in (0, 1))
            captures = len(np.unique(view.capture[ids]))
            twins, ones = share(counts[twin] > 1), share(view.n_packets[ids] == 1)
            kind = "attack" if attack else "benign"
            rows.append((str(name), kind, len(ids), captures, *hosts, n_pairs, span / 3600, twins, ones))
            if attack and len(ids) >= FEW_FAMILY:
                judged_flows["pair"] += len(ids) * (n_pairs == 1)
                judged_flows["short"] += len(ids) * (span <= SHORT_S)
    table = MeasuredTable("families", "Families one by one", tuple(COLUMNS), tuple(COLUMNS.values()), rows)
    total = int(view.attack.sum())
    of_pairs, of_bursts = (judged_flows[what] / total if total else None for what in ("pair", "short"))
    measures = [
        Measured("families.one_pair", "attack flows of families between one pair of hosts", "share", of_pairs),
        Measured("families.one_minute", "attack flows of families that began within one minute", "share", of_bursts),
    ]
    found: list[Finding] = []
    for measure, what in zip(measures, ("run between the same two hosts", "began within one minute"), strict=True):
        text = (
            f"{percent(measure.value)} of the attack flows are of families whose flows all {what}: each is one "
            "experiment, however many flows it has"
        )
        found += judged(measure.key, measure.value, text, f"families {what}", note=MOST)
    return Answer(measures, found, [table])
