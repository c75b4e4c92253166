"""What a leaderboard document says of the view ``@site``: which sites count, what lies outside, and what it means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from reports.results.sites import ATTACKS_IN_SITE, FEW_SITES, SITE
from reports.tables.document import Board, SitesOfTarget, SiteView
from reports.tables.fields import site_label

if TYPE_CHECKING:
    from reports.results.measures import Measure
    from reports.results.model import ResultTable

MEANING = (
    "a pooled number above it may be no more than telling sites apart: inside a site nothing but the traffic tells "
    "attacks from benign flows"
)


def site_view(table: ResultTable, measure: Measure) -> SiteView:
    """Of a table and a metric, under ``SITE``.  DataError where the stored truth or scores that it needs are not at
    hand."""
    targets: dict[str, SitesOfTarget] = {}
    for name in dict.fromkeys(target for _, target in table.pairs):
        sites, counted = table.sites.of(name), table.sites.counted(measure.metric, name)
        targets[name] = {
            "counted": list(counted),
            "sites": {site: sites.fewest(site) for site in sites.named},
            "attacks_outside": sites.attacks_outside(counted),
            "shared": sites.shared,
        }
    return {
        "metric": f"{measure.metric.name}{SITE}",
        "n_sites": table.n_sites(measure.metric),
        "fewest_benign": measure.metric.benign_in_site,
        "fewest_attack": ATTACKS_IN_SITE,
        "targets": targets,
        "reason": "",
    }


def not_at_hand(measure: Measure, reason: str) -> SiteView:
    """A view of which nothing is known, since files are missing."""
    return {
        "metric": f"{measure.metric.name}{SITE}",
        "n_sites": 0,
        "fewest_benign": measure.metric.benign_in_site,
        "fewest_attack": ATTACKS_IN_SITE,
        "targets": {},
        "reason": reason,
    }


def names_sites(document: Board) -> bool:
    """Whether there is anything to show beside the pooled numbers."""
    view = document.get("sites")
    return view is not None and bool(view["reason"] or any(of["sites"] for of in view["targets"].values()))


def site_notes(view: SiteView) -> list[str]:
    """The lines under every table that shows the view, or could not."""
    if view["reason"]:
        return [f"@site: {view['reason']}"]
    targets = view["targets"]
    counted = {name: of["counted"] for name, of in targets.items() if of["counted"]}
    named = {name: of for name, of in targets.items() if of["sites"]}
    apart = [name for name, of in named.items() if not of["shared"]]
    lacking = {name: of for name, of in named.items() if of["shared"] and not of["counted"]}
    small = [name for name, of in lacking.items() if not _large_enough(view, of)]
    unnamed = [name for name in targets if name not in named]
    lines = []
    if counted:
        listed = "; ".join(f"{name}: {', '.join(sites)}" for name, sites in counted.items())
        few = f", {site_label(view['n_sites'])}, too few for a lead" if view["n_sites"] < FEW_SITES else ""
        lines.append(f"@site: the metric inside each site, then the mean over sites ({listed}){few}; {MEANING}")
    if small:
        wanted = f"{view['fewest_benign']} benign and {view['fewest_attack']} attack test flows in every seed"
        lines.append(f"no @site number of {', '.join(small)}: no site has {wanted}, with which the metric exists")
    if absent := [name for name in lacking if name not in small]:
        lines.append(
            f"no @site number of {', '.join(absent)}: its sites have flows enough, but a run has no such number there, "
            "as of a threshold that its calibration flows are too few for"
        )
    if apart:
        lines.append(
            f"benign and attack flows of {', '.join(apart)} never share a site: the pooled number may be capture "
            "artefact"
        )
    lines += _outside(named.items())
    if unnamed:
        lines.append(f"no site is named in {', '.join(unnamed)}: what holds inside a site is not known")
    return lines


def _large_enough(view: SiteView, of: SitesOfTarget) -> bool:
    """Whether some site has as many flows as the metric asks for."""
    return any(
        flows["benign"] >= view["fewest_benign"] and flows["attack"] >= view["fewest_attack"]
        for flows in of["sites"].values()
    )


def _outside(named: Iterable[tuple[str, SitesOfTarget]]) -> list[str]:
    """Attacks that the view does not see, and where they were recorded."""
    found = []
    for name, of in named:
        if of["counted"] and of["attacks_outside"]:
            found.append(f"{of['attacks_outside']:,} attack test flows of {name}")
    return [f"outside @site (of a site with too few flows, or of none): {'; '.join(found)}"] if found else []
