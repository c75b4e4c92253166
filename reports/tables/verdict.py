"""What a leaderboard says, in sentences that are computed by rule: who is first, whether the lead is one, whether a
source network adds anything, on what that rests, and what not to conclude.  Standard library only.

A difference is beyond chance where its p-value after Holm's correction is at most ``ALPHA``: the rule of the tie
letters, so that the two never disagree.
"""

from collections.abc import Sequence

from janus_bench.records import CLASS_SHIFT
from janus_bench.words import counted
from reports.tables.document import (
    Board,
    BoardCell,
    BoardRow,
    Difference,
    Lead,
    SummaryName,
    SummaryStatistics,
    TableStatistics,
    Verdict,
)
from reports.tables.fields import COLLAPSE, COLLAPSE_TEXT, grouped, listed, mean_of_all, metric_name, number, signed
from reports.tables.intervals import ranking_summary

ALPHA = 0.05
CONTROL = "control"  # The provenance of rows that learn nothing.
APART = 0.1  # A pooled mean that lies so far above the mean inside sites is said beside it.


def verdict_of(document: Board, statistics: TableStatistics | None) -> Verdict:
    """``statistics``: the intervals of these very rows, if they were computed."""
    ranking = ranking_summary(document)
    found = None if statistics is None else statistics["summaries"].get(ranking)
    ranked = [row for row in document["rows"] if row["rank"] is not None]
    first, next_ = (*ranked[:2], None, None)[:2]
    difference = None if first is None or next_ is None else _difference(found, first, next_)
    lead = _lead(difference)
    known = _gains(document, found)
    told = {label: gain for label, gain in known.items() if _beyond_chance(gain["p_these_holm"])}
    above, below = ([name for name, of in told.items() if _better(document, of) is up] for up in (True, False))
    networks = len(_cells(document, ranking))
    sites = document["sites"]["n_sites"] if "sites" in document and networks else 0
    return {
        "sentences": [
            *_of_controls(document, ranking, known, above, below),
            *_of_first(document, ranking, ranked, difference, lead, found),
            *_of_sites(document, ranking, first),
            *_of_rest(document, ranking, ranked, networks, sites),
        ],
        "not_to_conclude": _not_to_conclude(document, ranking, ranked[:2], lead, networks),
        "first": None if first is None else first["detector"],
        "next": None if next_ is None else next_["detector"],
        "difference": difference,
        "lead": lead,
        "above_control": above,
        "below_control": below,
        "with_control": len(known),
        "networks": networks,
        "sites": sites,
    }


def verdict_lines(verdict: Verdict) -> list[str]:
    """The sentences, and in a last one what not to conclude."""
    refused = verdict["not_to_conclude"]
    return [*verdict["sentences"], *([f"Do not conclude {'; nor '.join(refused)}."] if refused else [])]


def _difference(found: SummaryStatistics | None, first: BoardRow, second: BoardRow) -> Difference | None:
    """First − second, whichever of them the statistics name first."""
    for duel in () if found is None else found["tests"]:
        names = duel["first"], duel["second"]
        if {*names} == {first["detector"], second["detector"]}:
            own: Difference = {name: duel[name] for name in Difference.__annotations__}  # type: ignore[literal-required, assignment]
            return own if names[0] == first["detector"] else _turned(own)
    return None


def _turned(of: Difference) -> Difference:
    def minus(value: float | None) -> float | None:
        return None if value is None else -value

    return {
        **of,
        "difference": -of["difference"],
        "low": minus(of["high"]),
        "high": minus(of["low"]),
        "low_these": minus(of["high_these"]),
        "high_these": minus(of["low_these"]),
    }


def _beyond_chance(p: float | None) -> bool:
    return p is not None and p <= ALPHA


def _better(document: Board, of: Difference) -> bool:
    return (of["difference"] > 0) is document["higher_is_better"]


def _lead(difference: Difference | None) -> Lead:
    if difference is None or (difference["p_these_holm"] is None and difference["low_these"] is None):
        return "unknown"
    if _beyond_chance(difference["p_holm"]):
        return "other networks"
    return "these networks" if _beyond_chance(difference["p_these_holm"]) else "none"


def _gains(document: Board, found: SummaryStatistics | None) -> dict[str, Difference]:
    """Of rows whose gain has a test, in the order of the board."""
    gains = {} if found is None else found["gains"]
    names = [row["detector"] for row in document["rows"]]
    return {name: gains[name] for name in names if name in gains and gains[name]["p_these_holm"] is not None}


def _cells(document: Board, ranking: SummaryName) -> dict[str, list[BoardCell]]:
    """Target → the cells that the ranking mean is made of and in which any row has a number."""
    there = {
        (cell["source"], cell["target"])
        for row in document["rows"]
        for cell in row["cells"]
        if cell["mean"] is not None
    }
    shifted = {name for name, info in document["datasets_info"].items() if info["task"] == CLASS_SHIFT}
    cross = ranking == "cross_mean"
    chosen = [
        cell
        for cell in (document["rows"][0]["cells"] if document["rows"] else ())
        if (cell["source"] != cell["target"]) is cross
        and cell["target"] not in shifted
        and (cell["source"], cell["target"]) in there
    ]
    return grouped((cell["target"], cell) for cell in chosen)


def bracket(low: float | None, high: float | None, *, plus: bool = False) -> str:
    """`` [.004, .038]``; empty where there is no interval."""
    if low is None or high is None:
        return ""
    return f" [{signed(low) if plus else number(low)}, {signed(high) if plus else number(high)}]"


def _plural(what: str, count: int) -> str:
    first, *rest = what.split(" ", 1)
    return " ".join([first if count == 1 else f"{first}s", *rest])


def _n_seeds(row: BoardRow) -> int:
    """Behind the cell that has the most."""
    return max((cell["n_seeds"] for cell in row["cells"]), default=0)


def _word(ranking: SummaryName) -> str:
    return ranking.replace("_", " ")


def _of_controls(
    document: Board,
    ranking: SummaryName,
    known: dict[str, Difference],
    above: Sequence[str],
    below: Sequence[str],
) -> list[str]:
    """Whether a source network adds anything: the most important finding that a cross table can have."""
    helps = {"cross_mean": "training on another network", "within_mean": "the larger training part"}
    if known:
        of = f"{len(known)} rows with a target-only control"
        best = (max if document["higher_is_better"] else min)(known, key=lambda label: known[label]["difference"])
        gain = known[best]
        interval = bracket(gain["low_these"], gain["high_these"], plus=True)
        if len(known) == 1:
            by = f"{best} is {{}} than its own target-only control ({signed(gain['difference'])}{interval})"
            if above or below:
                return [f"{by.format('better' if above else 'worse')}, on these networks."]
            return [f"{by.format('not better')}: nothing here shows that {helps[ranking]} helps."]
        worse = f", and worse on these networks {'is' if len(below) == 1 else 'are'} {listed(below)}" if below else ""
        if not above:
            return [
                f"No row is better than its own target-only control (of {of}; the largest gain is {best}'s, "
                f"{signed(gain['difference'])}{interval}){worse}: nothing here shows that {helps[ranking]} helps."
            ]
        if len(above) < len(known):
            return [f"Better than their own target-only control on these networks: {listed(above)}, of {of}{worse}."]
        return [f"Every row is better than its own target-only control on these networks (all {of})."]
    gains = {
        row["detector"]: row["summary"][ranking] - row["control_summary"][ranking]  # type: ignore[operator]
        for row in document["rows"]
        if row["summary"][ranking] is not None and row["control_summary"][ranking] is not None
    }
    if not gains:
        return []
    better = sum((gain > 0) is document["higher_is_better"] and gain != 0 for gain in gains.values())
    if len(gains) == 1:
        ((label, value),) = gains.items()
        return [
            f"{label} has {'a' if better else 'no'} better mean than its own target-only control ({signed(value)}); "
            "whether by chance was not computed."
        ]
    if better:
        have, own = ("has", "its") if better == 1 else ("have", "their")
        return [
            f"{better} of {len(gains)} rows {have} a better mean than {own} own target-only control; whether by chance "
            "was not computed."
        ]
    return [f"No row has a better mean than its own target-only control ({counted(len(gains), 'row')} with one)."]


def _of_first(
    document: Board,
    ranking: SummaryName,
    ranked: Sequence[BoardRow],
    difference: Difference | None,
    lead: Lead,
    found: SummaryStatistics | None,
) -> list[str]:
    what = f"{_word(ranking)} of {metric_name(document['metric'])}"
    if not ranked:
        return [f"Nobody is ranked: {_why_nobody(document)}."]
    first, *others = ranked
    mean = first["summary"][ranking]
    interval = first["intervals"].get(ranking)
    own = "" if interval is None else bracket(interval["low_these"], interval["high_these"])
    own = f"{own[:-1]}, 95 % for these networks]" if own else ""
    begin = f"{first['detector']} is first in the {what}, {number(mean)}{own}"
    if not others:
        return [f"{begin}; it is the only ranked row: it leads nobody."]
    second = others[0]
    if second["rank"] == first["rank"]:
        equal = [row["detector"] for row in ranked if row["rank"] == first["rank"]]
        return [f"{listed(equal)} are first together in the {what}, {number(mean)}{own}: no lead."]
    if difference is None:
        value = (mean or 0.0) - (second["summary"][ranking] or 0.0)
        return [
            f"{begin}; the difference to the next, {second['detector']}, is {signed(value)}: whether that is a lead "
            "was not computed."
        ]
    these = bracket(difference["low_these"], difference["high_these"], plus=True)
    between = f"{begin}; the difference to the next, {second['detector']}, is {signed(difference['difference'])}{these}"
    beyond = bracket(difference["low"], difference["high"], plus=True)
    ends = {
        "other networks": f"a lead, on these networks and on others like them{beyond}",
        "these networks": f"a lead on these networks, not shown for others like them{beyond}",
        "none": f"no lead (5 %, Holm over all pairs){_alike(found, first, others)}",
        "unknown": "whether that is a lead cannot be told (see the notes on intervals)",
    }
    return [f"{between}: {ends[lead]}."]


def _alike(found: SummaryStatistics | None, first: BoardRow, others: Sequence[BoardRow]) -> str:
    """The rows that differ from the first by no more than chance."""
    same = [row["detector"] for row in others if _lead(_difference(found, first, row)) == "none"]
    return f"; {listed(same)} {'are' if len(same) > 1 else 'is'} not told apart from it on these networks"


def _why_nobody(document: Board) -> str:
    if any(all(cell["status"] == "ok" for cell in row["cells"]) for row in document["rows"]):
        few = "sites" in document and document["metric"].endswith("@site")
        return f"{document['sites']['n_sites']} sites are too few for it" if few else "no complete row has a number"
    return "no row has every cell"


def _inside(ranking: SummaryName, row: BoardRow) -> tuple[float, float] | None:
    """Pooled mean and mean inside sites over the ranking cells that have both."""
    cross = ranking == "cross_mean"
    both = [
        (cell["mean"], site)
        for cell in row["cells"]
        if (cell["source"] != cell["target"]) is cross and (site := cell.get("site_mean")) is not None
    ]
    pooled, inside = (mean_of_all([pair[place] for pair in both]) for place in (0, 1))
    return None if pooled is None or inside is None else (pooled, inside)


def _of_sites(document: Board, ranking: SummaryName, first: BoardRow | None) -> list[str]:
    found = None if first is None else _inside(ranking, first)
    if first is None or found is None:
        return []
    pooled, inside = found
    said = f"Inside a site {first['detector']} has {number(inside)}, pooled over the same networks {number(pooled)}"
    auroc = "auroc" in document["metric"]
    if auroc and inside <= COLLAPSE < pooled:
        return [
            f"{said}: where only the traffic differs it does not tell attacks from benign flows (≤ {COLLAPSE_TEXT})."
        ]
    if document["higher_is_better"] and pooled - inside >= APART:
        return [f"{said}: part of the pooled number is telling sites apart."]
    return [f"{said}."]


def _of_rest(document: Board, ranking: SummaryName, ranked: Sequence[BoardRow], networks: int, sites: int) -> list[str]:
    cells = sum(map(len, _cells(document, ranking).values()))
    seeds = max(map(_n_seeds, document["rows"]), default=0)
    counts = {"network": networks, "cell": cells, "seed": seeds}
    counts |= {"site inside which numbers exist": sites} if "sites" in document else {}
    parts = [f"{number_of or 'no'} {_plural(what, number_of)}" for what, number_of in counts.items()]
    lines = [f"This rests on {', '.join(parts)}{', of synthetic data' if document['synthetic'] else ''}."]
    missing = [
        row["detector"]
        for row in document["rows"]
        if row["rank"] is None and any(cell["status"] != "ok" for cell in row["cells"])
    ]
    few = [f"{row['detector']} ({n})" for row in ranked if (n := _n_seeds(row)) < len(document["seeds"])]
    if few:
        lines.append(f"Over fewer seeds than the {len(document['seeds'])}, so over other draws: {listed(few)}.")
    if missing and ranked:
        lines.append(f"Not ranked, since cells are missing: {listed(missing)}.")
    return lines


def _not_to_conclude(
    document: Board, ranking: SummaryName, leading: Sequence[BoardRow], lead: Lead, networks: int
) -> list[str]:
    if not networks:
        return ["anything: no cell has a number"]
    first = leading[0] if leading else None
    lines = []
    if len(leading) > 1 and any(_n_seeds(row) < len(document["seeds"]) for row in leading):
        lines.append("anything from the order of the first two: they were not run with the same seeds")
    if document["synthetic"]:
        lines.append("anything about real networks: the data are synthetic")
    if networks < 2:
        lines.append("anything about another network: there is one")
    elif lead == "these networks":
        lines.append("that the order would be the same on other networks")
    elif lead in ("none", "unknown") and first is not None and len(leading) > 1:
        lines.append(f"that {first['detector']} is better than the next one")
    uses = dict.fromkeys(use for row in leading if (use := row.get("target_use")))
    if len(uses) > 1:
        lines.append(
            f"that the first is the better method: the two used the target's flows differently ({', '.join(uses)})"
        )
    mean = None if first is None else first["summary"][ranking]
    if first is not None and first["provenance"] == CONTROL:
        lines.append(f"that {first['detector']} detects anything: it is a control")
    elif mean is not None and "auroc" in document["metric"] and mean <= COLLAPSE:
        lines.append(f"that attacks are detected: {number(mean)} is the number of chance (≤ {COLLAPSE_TEXT})")
    if first is not None and first["uses_labels"]:
        lines.append(f"that {first['detector']} would be first without the labels or test flows that it was given")
    found = None if first is None else _inside(ranking, first)
    if "sites" in document and found is None and not document["metric"].endswith("@site"):
        lines.append("that attacks are told from benign flows by their traffic: inside no site is that known")
    if found is not None and "auroc" in document["metric"] and found[1] <= COLLAPSE < found[0]:
        lines.append("that attacks are detected: inside a site the number is that of chance")
    if len(document["seeds"]) == 1:
        lines.append("anything about the spread over seeds: there is one")
    return lines
