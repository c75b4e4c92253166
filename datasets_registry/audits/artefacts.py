"""Traces of how packets were captured and cut: mirrored packets, caps on packets per flow, one-packet flows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_registry.audits.view import Answer, AuditView, Finding, Ids, Measured, judged, percent, share
from janus_bench.columns import MAX_PACKETS

TWIN_GAP_US = 10.0
"""A packet that equals the flow's previous one in direction, flags, size and window, and comes less than this after it,
is its twin."""

MIRRORED_TWINS = 0.30
"""Share of twins in *each* direction from which a capture is called mirrored.  Recorded twice throughout, half of its
packets are twins; a sender of bursts or doubled datagrams makes twins too, but in its own direction only."""
MIN_MIRROR_PACKETS = 50  # Packets that a capture must have to be judged.
MIN_DIRECTION_PACKETS = 10
"""Packets that it must have in either direction: with one direction, mirror and sender cannot be told apart."""
MIRRORED_SHARE = 0.05  # Share of the packets that lie in mirrored captures from which a warning is given.
TWIN_SHARE = 0.10  # Share of twins in a class that is worth a note where the captures are not mirrored.

WALL_FLOWS = 10
WALL_SHARE = 0.90
WALL_SPREAD = 10
"""A cap at v packets: at least ``WALL_FLOWS`` flows of exactly v, at most 10 % as many above, and ``WALL_SPREAD``
different counts in [v/2, v): a cap cuts a tail, while a tool that always sends v packets has none."""

ONE_PACKET = 0.50
"""Share of one-packet flows among attacks, and share of the attacks that one family of such flows is, from which a
warning is given."""
ONE_PACKET_FAMILY = 0.90  # A family is one of one-packet flows when these are at least this share of it.


def artefacts(view: AuditView) -> Answer:
    """All checks of this file."""
    answers = [mirrored(view), caps(view), one_packet(view)]
    return Answer(
        [m for answer in answers for m in answer.measures], [f for answer in answers for f in answer.findings]
    )


def twin_packets(view: AuditView) -> NDArray[np.bool_]:
    """Which packets are twins of the one before, (P,); the first packet of a flow is none."""
    size, win, iat, bits = (*(view.packets[name] for name in ("size", "win", "iat")), view.bits)
    twin = np.zeros(len(size), bool)
    twin[1:] = (size[1:] == size[:-1]) & (win[1:] == win[:-1]) & (bits[1:] == bits[:-1]) & (iat[1:] < TWIN_GAP_US)
    twin[view.offsets[:-1]] = False
    return twin


def mirrored(view: AuditView) -> Answer:
    """Packets recorded twice, per label; and which captures hold every packet twice."""
    twin, attack = twin_packets(view), view.attack[view.flow_of_packet]
    capture, n_captures = view.capture[view.flow_of_packet], view.n_captures
    backward = view.bits & 1 == 1
    # (2, C)
    packets = np.stack([np.bincount(capture[backward == side], minlength=n_captures) for side in (False, True)])
    twins = np.stack([np.bincount(capture[(backward == side) & twin], minlength=n_captures) for side in (False, True)])
    judged = (packets.sum(axis=0) >= MIN_MIRROR_PACKETS) & (packets.min(axis=0) >= MIN_DIRECTION_PACKETS)
    is_mirrored = judged & (twins >= MIRRORED_TWINS * packets).all(axis=0)
    inside = float(is_mirrored[capture].mean())
    by_label = {"benign": share(twin[~attack]), "attack": share(twin[attack])}
    counts = {"captures": int(is_mirrored.sum()), "captures judged": int(judged.sum()), "of": n_captures}
    measures = [
        Measured(
            "mirrored.packets",
            "packets equal to the one before, less than 10 µs after it",
            "share",
            share(twin),
            by_label,
        ),
        Measured(
            "mirrored.captures", "packets in captures that hold nearly every packet twice", "share", inside, counts
        ),
        _extraction(view),
    ]
    if inside >= MIRRORED_SHARE:
        text = (
            f"{percent(inside)} of the packets lie in captures that recorded packets twice in both directions "
            f"({int(is_mirrored.sum())} captures; "
            f"{percent(float(twin.mean()))} of all packets are such copies): lengths are doubled, gaps of a "
            "few µs are the recorder's"
        )
        return Answer(
            measures, [Finding("mirrored.captures", "warning", text, "mirrored packets", inside, MIRRORED_SHARE)]
        )
    copies = measures[-1]
    if copies.value is not None and copies.value >= MIRRORED_SHARE and copies.detail["removed"]:
        text = f"{percent(copies.value)} of the packets read were mirrored copies; they were removed at extraction"
        return Answer(
            measures, [Finding(copies.key, "note", text, "mirrored packets were removed", copies.value, MIRRORED_SHARE)]
        )
    largest = max((value, label) for label, value in by_label.items() if value is not None)
    if largest[0] >= TWIN_SHARE:
        said = ", ".join(f"{label} {percent(value)}" for label, value in by_label.items() if value is not None)
        text = (
            f"{percent(largest[0])} of the {largest[1]} packets repeat the one before within 10 µs ("
            + said
            + "), but not in both "
            "directions of a whole capture: bursts or a sender that repeats itself, not a mirror"
        )
        return Answer(measures, [Finding("mirrored.packets", "note", text, "repeated packets", largest[0], TWIN_SHARE)])
    return Answer(measures)


def _extraction(view: AuditView) -> Measured:
    """Mirrored copies that the extractor recognised, and whether it left them out; a manifest without the word has kept
    them."""
    packets = view.manifest["packets"]
    copies, read = (
        sum(int(packets[account].get("mirrored", 0)) for account in ("noted", "dropped")),
        int(packets["read"]),
    )
    removed = bool(view.manifest.get("remove_mirrored", False))
    what = "mirrored copies that the extractor recognised"
    return Measured("mirrored.extraction", what, "share", copies / read if read else None, {"removed": removed})


def wall(n_packets: Ids) -> tuple[int, int] | None:
    """(v, flows of exactly v packets) where the lengths of these flows, (n,), end as if cut at v; None where they do
    not."""
    values, counts = np.unique(n_packets, return_counts=True)
    at_least = counts[::-1].cumsum()[::-1]
    for value, count, tail in zip(values[::-1], counts[::-1], at_least[::-1], strict=True):
        spread = int(((values >= value / 2) & (values < value)).sum())
        if count >= WALL_FLOWS and count >= WALL_SHARE * tail and spread >= WALL_SPREAD:
            return int(value), int(count)
    return None


def caps(view: AuditView) -> Answer:
    """Where the packets per flow of a class stop; a warning if benign and attack flows stop at different numbers that a
    detector can see."""
    walls, measures = {}, []
    for label, chosen in (("benign", ~view.attack), ("attack", view.attack)):
        lengths = view.n_packets[chosen]
        found = walls[label] = wall(lengths)
        longest = int(lengths.max()) if len(lengths) else None
        detail: dict[str, Any] = {"longest flow": longest, "flows at the longest": share(lengths == longest)}
        if found:
            detail |= {"cap": found[0], "flows above it": int((lengths > found[0]).sum())}
        what = f"{label} flows cut at {found[0]} packets" if found else f"{label} flows: no cap on packets"
        at_cap = (found[1] if found else 0) / len(lengths) if len(lengths) else None
        measures.append(Measured(f"caps.{label}", what, "share", at_cap, detail))
    return Answer(measures, _judge_caps(view, walls))


def _judge_caps(view: AuditView, walls: dict[str, tuple[int, int] | None]) -> Sequence[Finding]:
    known = {label: found[0] for label, found in walls.items() if found}
    if not known or (len(set(known.values())) == 1 and len(known) == 2):
        return ()
    label = min(known, key=lambda name: known[name])
    other = "attack" if label == "benign" else "benign"
    cap, of_class = known[label], view.attack == (label == "attack")
    beyond = float((view.n_packets[~of_class] > cap).mean()) if (~of_class).any() else 0.0
    if not beyond:
        return ()  # the other class never gets that far: nothing shows that it was treated otherwise
    at = float((view.n_packets[of_class] == cap).mean())
    there = f"at {known[other]}" if other in known else "not at all"
    seen = (
        f"detectors see {MAX_PACKETS} packets, so they can see that"
        if cap < MAX_PACKETS
        else f"detectors see only {MAX_PACKETS} packets"
    )
    text = (
        f"{label} flows are cut at {cap} packets ({percent(at)} of them have exactly that many), {other} flows {there} "
        f"({percent(beyond)} are longer than {cap}): there the length tells the label; {seen}"
    )
    return [
        Finding(
            f"caps.{label}",
            "warning" if cap < MAX_PACKETS else "note",
            text,
            f"{label} flows cut at {cap} packets",
            float(cap),
            MAX_PACKETS,
        )
    ]


def one_packet(view: AuditView) -> Answer:
    """One-packet flows, per class and family: where they are most of the attacks, a pooled AUROC says little about
    anything else."""
    single = view.n_packets == 1
    measures, findings = [], []
    for label, chosen in (("benign", ~view.attack), ("attack", view.attack)):
        names, code = np.unique(view.family[chosen], return_inverse=True)
        flows, ones = np.bincount(code), np.bincount(code, weights=single[chosen])
        order = np.argsort(-ones, kind="stable")[:5]
        detail = {str(names[i]): f"{int(ones[i])} of {int(flows[i])}" for i in order if ones[i]}
        key, what = f"one_packet.{label}", f"{label} flows of a single packet"
        measures.append(Measured(key, what, "share", share(single[chosen]), detail, judged=label == "attack"))
        if label == "attack" and len(names):
            findings = [
                *_judge_ones(share(single[~view.attack]), share(single[chosen])),
                *_judge_families(names, flows, ones),
            ]
    return Answer(measures, findings)


def _judge_ones(benign: float | None, attack: float | None) -> Sequence[Finding]:
    beside = f" and {percent(benign)} of the benign flows" if benign is not None else ""
    text = (
        f"{percent(attack)} of the attack flows{beside} have a single packet: read the view of two or more packets "
        "(@2+) beside every number"
    )
    return judged("one_packet.attack", attack, text, "most attack flows have one packet", warning=ONE_PACKET)


def _judge_families(names: NDArray[np.str_], flows: NDArray[Any], ones: NDArray[Any]) -> Sequence[Finding]:
    largest = int(np.argmax(flows))
    of_attacks, of_family = float(flows[largest] / flows.sum()), float(ones[largest] / flows[largest])
    if of_family < ONE_PACKET_FAMILY:
        return ()
    text = (
        f"the family {names[largest]} is {percent(of_attacks)} of the attack flows, and {percent(of_family)} "
        "of it are single packets: "
        "the pooled AUROC is that family's; read the macro AUROC"
    )
    return judged(
        "one_packet.family", of_attacks, text, f"one-packet {names[largest]} is most of the attacks", warning=ONE_PACKET
    )
