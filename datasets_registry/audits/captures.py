"""Where flows come from: captures and hosts that attacks share with benign flows or not, captures that differ anyway,
and how labels were matched."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from datasets_registry.audits.forest import class_aurocs
from datasets_registry.audits.view import ONE_CLASS, Answer, AuditView, Finding, Ids, Measured, judged, percent, share

MIN_BENIGN, MIN_BENIGN_SHARE = 20, 0.01
"""Benign flows that a capture or a host must have to count as one where benign traffic was seen: 20, or 1 % of them all
where that is fewer."""
APART_NOTE, APART_WARNING = 0.20, 0.50
"""Share of attack flows from captures without benign traffic from which a note is made, and a warning given."""
SAME_HOSTS = 0.90
"""Share of attack flows that involve a host with benign flows (in any capture) from which they count as one
network's."""

LARGEST = 5
MIN_CAPTURE_FLOWS = 30
CAPTURE_CAP = 300
SEPARABLE_NOTE, SEPARABLE_WARNING = 0.80, 0.95
"""Mean one-vs-rest AUROC of telling benign captures apart from which a note is made, and a warning given."""

LOST = 0.01  # Share of rows of the labels, or of flows, without a partner from which a warning is given.


def origins(view: AuditView, parts: Mapping[str, Ids]) -> Answer:
    """Do attacks come from where benign flows come from?"""
    attack = view.attack
    if not attack.any() or attack.all():
        return Answer(
            [
                Measured(
                    "origins.apart",
                    "attack flows from captures without benign traffic",
                    "share",
                    None,
                    {"reason": ONE_CLASS},
                )
            ]
        )
    enough = max(1, min(MIN_BENIGN, math.ceil(MIN_BENIGN_SHARE * int((~attack).sum()))))
    none, few = share(view.benign_in_capture[attack] == 0), float((view.benign_in_capture[attack] < enough).mean())
    same_capture, anywhere = _known_hosts(view, enough)
    code = view.capture
    # (C,) each: benign there, attack there
    here = [np.bincount(code[attack == kind], minlength=view.n_captures) > 0 for kind in (False, True)]
    both, training = int((here[0] & here[1]).sum()), np.unique(code[parts["train"]])
    counts = {"with benign flows": int(here[0].sum()), "with attacks": int(here[1].sum()), "with both": both}
    beside = share(np.isin(code[attack], training))
    careful = {"careful": "private addresses of different networks coincide"}
    measures = [
        Measured("origins.apart", f"attack flows from captures with {_few(enough)}", "share", few, {"with none": none}),
        Measured("origins.captures", "captures that hold both benign and attack flows", "count", both, counts),
        Measured(
            "origins.training",
            "attack flows whose capture also holds training flows (grouped)",
            "share",
            beside,
            judged=False,
        ),
        Measured(
            "origins.hosts_in_capture",
            f"attack flows with a host of ≥ {enough} benign flows in the same capture",
            "share",
            same_capture,
            judged=False,
        ),
        Measured(
            "origins.hosts",
            f"attack flows with a host of ≥ {enough} benign flows anywhere",
            "share",
            anywhere,
            careful,
            judged=False,
        ),
    ]
    findings = _judge_origins(few, anywhere, enough)
    if not both:
        text = (
            "no capture holds both benign and attack flows: the label of a flow follows from its file, and nothing "
            "verifies it flow by flow"
        )
        findings.append(Finding("origins.captures", "warning", text, "labels by file, not verified", 0.0, 1.0))
    return Answer(measures, findings)


def _known_hosts(view: AuditView, enough: int) -> tuple[float, float]:
    """Shares of the attack flows with an end that has ``enough`` benign flows in the same capture, and in any."""
    n_hosts = int(view.ends.max()) + 1
    found = []
    for place in (view.capture[:, None] * n_hosts + view.ends, view.ends):  # (N, 2)
        values, inverse = np.unique(place, return_inverse=True)
        inverse = inverse.reshape(place.shape)
        flows = np.bincount(inverse[~view.attack].ravel(), minlength=len(values))
        found.append(float((flows[inverse[view.attack]] >= enough).any(axis=1).mean()))
    return found[0], found[1]


def _few(enough: int) -> str:
    return "no benign flow" if enough == 1 else f"fewer than {enough} benign flows"


def _judge_origins(apart: float, same_hosts: float, enough: int) -> list[Finding]:
    short, where = "attacks from other networks", "other networks"
    if same_hosts >= SAME_HOSTS:
        short = "attacks from other captures"
        where = f"other captures, although {percent(same_hosts)} involve a host that has benign flows in some capture"
    text = (
        f"{percent(apart)} of the attack flows come from captures with {_few(enough)} ({where}): "
        "what separates them may be the capture, not the attack"
    )
    return judged("origins.apart", apart, text, short, note=APART_NOTE, warning=APART_WARNING)


def largest_captures(view: AuditView) -> Ids:
    """Numbers of the captures with most benign flows, of those that have enough."""
    flows = np.bincount(view.capture[~view.attack], minlength=view.n_captures)
    largest = np.argsort(-flows, kind="stable")[:LARGEST]
    return largest[flows[largest] >= MIN_CAPTURE_FLOWS]


def separable_captures(view: AuditView, seed: int) -> Answer:
    """Benign against benign: how well a classifier tells the largest benign captures apart by the 20 features."""
    key, what = "captures.separability", f"benign against benign: telling the {LARGEST} largest captures apart"
    code, chosen = view.capture, largest_captures(view)
    flows = np.bincount(code[~view.attack], minlength=view.n_captures)
    if len(chosen) < 2:
        reason = f"{len(chosen)} benign capture(s) of {MIN_CAPTURE_FLOWS} flows or more"
        return Answer([Measured(key, what, "auroc", None, {"reason": reason})])
    kept: NDArray[np.bool_] = np.isin(code, chosen) & ~view.attack
    values = class_aurocs(view.features[kept], code[kept], seed, CAPTURE_CAP)
    mean = None if values is None else float(np.mean(values))
    measure = Measured(
        key, what, "auroc", mean, {"captures": len(chosen), "flows": int(np.minimum(flows[chosen], CAPTURE_CAP).sum())}
    )
    if mean is None:
        return Answer([measure])
    text = (
        f"benign captures can be told apart with a mean AUROC of {mean:.3f}: they differ as much as attacks "
        "may, and a detector "
        "fitted on some of them can raise alarms for the mere change of capture"
    )
    return Answer(
        [measure], judged(key, mean, text, "benign captures differ", note=SEPARABLE_NOTE, warning=SEPARABLE_WARNING)
    )


def coverage(view: AuditView) -> Answer:
    """How labels met flows, from the manifest."""
    labels, flows = view.manifest["labels"], int(view.manifest["unmatched_flows"])
    total = {
        what: sum(int(row[what]) for row in labels.values()) for what in ("matched", "unmatched_rows", "ambiguous")
    }
    rows = sum(total.values())
    lost = {"unmatched_rows": "rows of the labels without a flow", "ambiguous": "ambiguous rows of the labels"}
    measures = [
        Measured(
            f"coverage.{what}",
            text,
            "share",
            total[what] / rows if rows else None,
            {label: int(row[what]) for label, row in labels.items()},
        )
        for what, text in lost.items()
    ]
    seen = len(view) + flows
    dropped = flows / seen if seen else None
    measures.append(
        Measured("coverage.unmatched_flows", "flows without a label (dropped)", "share", dropped, {"flows": flows})
    )
    findings: list[Finding] = []
    for measure in measures:
        text = f"{percent(measure.value)} {measure.what}: the dataset is not the whole traffic, nor is any context"
        findings += judged(measure.key, measure.value, text, measure.what, warning=LOST)
    return Answer(measures, findings)
