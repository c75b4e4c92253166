"""How far one simple property separates attacks from benign flows: length, flags, ports, each packet channel, the best
of the 20 features; and shuffled labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datasets_registry.audits.channels import channels
from datasets_registry.audits.forest import attack_auroc
from datasets_registry.audits.view import Answer, AuditView, Finding, Ids, Measured
from janus_bench.columns import FLOW_FEATURES
from protocols.metrics import auroc

NOTE, WARNING = 0.80, 0.95  # max(AUROC, 1 − AUROC) from which a single property is worth a note, and a warning.

CONTROL_ERRORS = 5.0
"""Standard errors of the AUROC of a random score by which a shuffled-label control may miss ½: the best of 40 tries
lies above one try."""

FLAG_BITS = 5
RULE = "one rule on the best single feature: attacks less benign flows"
RATIO = "down_up_ratio"  # The one feature that is no logarithm.
UNITS_OF = {
    **dict.fromkeys(("bytes_fwd", "bytes_bwd", "size_mean", "size_std", "size_min", "size_max"), " bytes"),
    **dict.fromkeys(("log_duration", "iat_mean", "iat_std", "iat_min", "iat_max"), " µs"),
    **dict.fromkeys(("n_packets", "n_fwd", "n_bwd"), " packets"),
}

Score = Callable[[AuditView, NDArray[np.bool_]], NDArray[np.float64]]


def separability(view: AuditView, parts: Mapping[str, Ids], seed: int) -> Answer:
    """Length, flags, ports, features; ``parts``: the grouped partition (its train part is the benign half that
    histograms are made of)."""
    length = [
        Measured("separability.length_stored", "length only: stored packets", "auroc", auroc(view.stored, view.attack)),
        Measured(
            "separability.length",
            "length only: all packets of the flow",
            "auroc",
            auroc(view.n_packets, view.attack),
            judged=False,
        ),
    ]
    flags = _rarity(view, parts, flag_rarity, "separability.flags", "TCP flags only: rarity among benign flows")
    ports = _rarity(view, parts, port_rarity, "separability.ports", "port only: rarity among benign flows")
    best, ranking = best_feature(view.features, view.attack)
    name, direction = ranking[0] if ranking else ("", "")
    detail: dict[str, Any] = {"feature": name, "attacks are": direction, "chosen": "with labels, of 40"}
    single = Measured("separability.best_feature", "best single feature", "auroc", best, detail)
    rule = Measured("separability.rule", RULE, "share", None, judged=False)
    if ranking:
        rule = one_rule(view.features[:, FLOW_FEATURES.index(name)], view.attack, name, higher=direction == "higher")
    told = attack_auroc(view.features, view.attack, seed)
    what = "random forest on the 20 features, trained with labels"
    forest = Measured("separability.forest", what, "auroc", told, judged=False)
    by_channel = channel_measures(view)
    plain = [*length, flags, ports, *by_channel, single, rule, forest]
    control = _shuffled(view, seed)
    judged = (*length[:1], flags, ports, *(each for each in by_channel if each.judged), single)
    findings = [finding for measure in judged if (finding := _judge(measure))]
    if "rule" in rule.detail:
        findings = [
            replace(each, text=f"{each.text}; {rule.detail['rule']}") if each.key == single.key else each
            for each in findings
        ]
    return Answer([*plain, *control.measures], [*findings, *control.findings])


def _rarity(view: AuditView, parts: Mapping[str, Ids], score: Score, key: str, what: str) -> Measured:
    """Histogram of the benign flows of train (half of them, whole captures); AUROC of −log frequency, the other benign
    flows against all attacks."""
    fit = np.zeros(len(view), bool)
    fit[parts["train"]] = True
    value = auroc(score(view, fit)[~fit], view.attack[~fit])
    return Measured(
        key,
        what,
        "auroc",
        value,
        {"benign flows counted": int(fit.sum()), "benign flows tested": int((~fit & ~view.attack).sum())},
    )


def flag_rarity(view: AuditView, fit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over a flow's packets of −ln of the add-one frequency of the packet's five flags among the packets of the
    flows ``fit``, (N,)."""
    flags = view.bits.astype(np.int64) >> 1  # bit 0 is the direction
    counts = np.bincount(flags[fit[view.flow_of_packet]], minlength=1 << FLAG_BITS) + 1.0
    return np.add.reduceat(-np.log(counts / counts.sum())[flags], view.offsets[:-1]) / view.stored


def port_rarity(view: AuditView, fit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """−ln of the add-one frequency of (protocol, lower port) among the flows ``fit``, (N,).

    The lower of the two ports is most often the service's, whoever sent the first packet that was captured.
    """
    values, code = np.unique(view.proto << 16 | view.ports.min(axis=1), return_inverse=True)
    counts = np.bincount(code[fit], minlength=len(values)) + 1.0
    return -np.log(counts / counts.sum())[code]


def channel_measures(view: AuditView) -> list[Measured]:
    """For each packet channel the best of its numbers of a flow in the better of its directions.

    Only the window is judged: it is in none of the 20 features, of which the best one is judged, as flags are by their
    rarity.
    """
    measures = []
    for channel, found in channels(view).items():
        value, ranking = best_feature(found.values, view.attack, found.names)
        name, direction = ranking[0] if ranking else ("", "")
        detail = {"feature": name, "attacks are": direction, "chosen": f"with labels, of {2 * len(found.names)}"}
        key, what = f"separability.channel_{channel}", f"{channel} only: the best number of a flow"
        measures.append(Measured(key, what, "auroc", value, detail if ranking else {}, judged=channel == "window"))
    return measures


def best_feature(
    features: NDArray[np.float64], attack: NDArray[np.bool_], names: Sequence[str] = FLOW_FEATURES
) -> tuple[float | None, list[tuple[str, str]]]:
    """The largest max(AUROC, 1 − AUROC) of the columns of ``features`` (n, k), and all (name, higher | lower), best
    first; ``names``: of the k columns."""
    found = []
    for column, name in enumerate(names):
        value = auroc(features[:, column], attack)
        if value is None:
            return None, []
        found.append((max(value, 1 - value), name, "higher" if value >= 0.5 else "lower"))
    found.sort(key=lambda entry: -entry[0])
    return found[0][0], [(name, direction) for _, name, direction in found]


def one_rule(values: NDArray[np.float64], attack: NDArray[np.bool_], name: str, *, higher: bool) -> Measured:
    """The threshold on a feature (n,), as it is stored, that separates most; told in the feature's own unit."""
    order = np.argsort(-values if higher else values, kind="stable")
    ordered, hits = values[order], np.cumsum(attack[order]) / attack.sum()
    alarms = np.cumsum(~attack[order]) / (~attack).sum()
    last = np.append(ordered[1:] != ordered[:-1], True)  # of equal values none stays behind
    best = int(np.argmax(np.where(last, hits - alarms, -1.0)))
    found, alarm = float(hits[best]), float(alarms[best])
    bound = ordered[best] if name == RATIO else np.expm1(ordered[best])
    said = f"{name.removeprefix('log_')} at {'least' if higher else 'most'} {bound:,.4g}{UNITS_OF.get(name, '')}"
    detail = {"rule": f"{said}: {found:.0%} of the attacks, {alarm:.0%} of the benign flows", "chosen": "with labels"}
    return Measured(
        "separability.rule",
        RULE,
        "share",
        found - alarm,
        detail,
        judged=False,
    )


def _judge(measure: Measured) -> Finding | None:
    if measure.value is None:
        return None
    extreme = max(measure.value, 1 - measure.value)
    if extreme < NOTE:
        return None
    which = f" ({measure.detail['feature']}, chosen with labels)" if "feature" in measure.detail else ""
    turned = f" ({extreme:.3f} when turned round)" if measure.value < 0.5 else ""
    text = (
        f"{measure.what}{which} – that alone separates attacks from benign flows with an AUROC of "
        f"{measure.value:.3f}{turned}"
    )
    severity: Literal["note", "warning"] = "warning" if extreme >= WARNING else "note"
    short = f"{measure.what.split(':')[0]}: AUROC {measure.value:.2f}"
    return Finding(measure.key, severity, text, short, measure.value, WARNING if severity == "warning" else NOTE)


def _shuffled(view: AuditView, seed: int) -> Answer:
    """The same two searches with the labels permuted: both have to give ½."""
    labels = np.random.default_rng([seed, 1]).permutation(view.attack)
    single, _ = best_feature(view.features, labels)
    forest = attack_auroc(view.features, labels, seed)
    measures = [
        Measured("control.best_feature", "shuffled labels: best single feature", "auroc", single),
        Measured("control.forest", "shuffled labels: random forest", "auroc", forest),
    ]
    return Answer(measures, [finding for measure in measures if (finding := _judge_control(measure, view.attack))])


def _judge_control(measure: Measured, attack: NDArray[np.bool_]) -> Finding | None:
    positives, negatives = int(attack.sum()), int((~attack).sum())
    if measure.value is None:
        return None
    # Variance of the Mann-Whitney statistic under the null hypothesis, over the smaller sample that the forest sees.
    a, b = min(positives, 2000), min(negatives, 2000)
    allowed = CONTROL_ERRORS * ((a + b + 1) / (12 * a * b)) ** 0.5
    if abs(measure.value - 0.5) <= allowed:
        return None
    text = (
        f"{measure.what} gives {measure.value:.3f} instead of ½ (allowed: ±{allowed:.3f}): the audit's own numbers "
        "cannot be trusted here"
    )
    return Finding(measure.key, "error", text, "shuffled-label control fails", measure.value, allowed)
