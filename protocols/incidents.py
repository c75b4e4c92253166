"""What an operator sees of scored flows: incidents, campaigns, and the time that was watched.

An *incident* is a window of one host in one capture with at least one alert.  A *campaign* is what one attacker does: a
connected component of one family's attack flows in one capture, linked by a shared host, so that a flood from ten
thousand invented addresses is one.  The need is stated in *SoK: Reshaping Research on Network Intrusion Detection
Systems* (ACM AsiaCCS 2026).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from protocols.splits import YEAR

WINDOW_S = 600.0
AFTER_S = 300.0  # Seconds after a flow's end that still count as watched.
SOON_S = 60.0
INCIDENTS_PER_DAY = 10.0
DAY_S = 86_400.0

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class WatchedFlows:
    """n flows as they pass an operator, (n,) each.

    capture     number of the capture
    host, peer  numbers of the initiator's and the responder's address, each address one number
    start, end  s since the epoch;  judged: when a flow has its score, its end or its 64th packet
    attack, family  family: a number, of attack flows
    window_s    length of a window; windows are aligned to the epoch
    """

    capture: Numbers
    host: Numbers
    peer: Numbers
    start: Floats
    end: Floats
    judged: Floats
    attack: NDArray[np.bool_]
    family: Numbers
    window_s: float = WINDOW_S

    @cached_property
    def window(self) -> Numbers:
        """(n,) number of the window of its capture and host that each flow is judged in."""
        return _numbered(self.capture, self.host, np.floor(self.judged / self.window_s).astype(np.int64))

    @cached_property
    def window_capture(self) -> Numbers:
        """(windows,) the capture of each window."""
        return self.capture[np.unique(self.window, return_index=True)[1]]

    @cached_property
    def campaign(self) -> Numbers:
        """(n,) number of each attack flow's campaign, −1 of the others."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        campaign = np.full(len(self.capture), -1, np.int64)
        if not self.attack.any():
            return campaign
        kind = _numbered(self.capture[self.attack], self.family[self.attack])
        ends = _numbered(np.tile(kind, 2), np.concatenate([self.host[self.attack], self.peer[self.attack]]))
        one, other = np.split(ends, 2)
        n = int(ends.max()) + 1
        _, component = connected_components(coo_array((np.ones(len(one), np.bool_), (one, other)), (n, n)), False)
        campaign[self.attack] = np.unique(component[one], return_inverse=True)[1]
        return campaign

    @cached_property
    def campaigns(self) -> tuple[Numbers, Floats]:
        """(campaigns,) the capture of each, and when its first flow starts."""
        own = np.flatnonzero(self.attack)
        _, first = np.unique(self.campaign[own], return_index=True)
        begins = np.full(len(first), np.inf)
        np.minimum.at(begins, self.campaign[own], self.start[own])
        return self.capture[own][first], begins

    @cached_property
    def jumps(self) -> NDArray[np.bool_]:
        """(campaigns,) whether a campaign's flows start more than a year apart: its capture's clock was set meanwhile,
        and no time can be told."""
        own = np.flatnonzero(self.attack)
        order = own[np.lexsort((self.start[own], self.campaign[own]))]
        apart = (np.diff(self.start[order]) > YEAR) & (np.diff(self.campaign[order]) == 0)
        return np.bincount(self.campaign[order[1:]][apart], minlength=len(self.campaigns[0])) > 0

    @cached_property
    def observed_s(self) -> Floats:
        """(captures,) seconds that were watched: the union of [start, end + ``AFTER_S``] over a capture's flows."""
        order = np.lexsort((self.start, self.capture))
        capture, start, stop = self.capture[order], self.start[order], self.end[order] + AFTER_S
        seconds = np.zeros(int(capture.max(initial=-1)) + 1)
        firsts = np.flatnonzero(np.diff(capture, prepend=-1))
        for own in np.split(np.arange(len(order)), firsts[1:]) if len(order) else ():
            # what lies before the latest stop so far has been counted already
            before = np.concatenate([[-np.inf], np.maximum.accumulate(stop[own])[:-1]])
            seconds[capture[own[0]]] = np.maximum(stop[own] - np.maximum(start[own], before), 0).sum()
        return seconds


@dataclass(frozen=True, eq=False)
class IncidentCounts:
    """What a threshold makes of watched flows, by capture (captures,) and by campaign (campaigns,).

    alerts, true, false  flows above it, and incidents with and without an attack among these flows
    missed      windows with attack flows and no alert
    found       whether a campaign has a flow above it
    seconds     from a campaign's first flow to its first alert; NaN where it has none, or where the clock jumps
    flows       of the campaign that had begun by then; NaN where ``seconds`` is
    """

    alerts: Numbers
    true: Numbers
    false: Numbers
    missed: Numbers
    found: NDArray[np.bool_]
    seconds: Floats
    flows: Floats


def count_incidents(flows: WatchedFlows, scores: Floats, threshold: float) -> IncidentCounts:
    """scores (n,); an alert is a score above ``threshold``."""
    alert = scores > threshold
    n_captures = len(flows.observed_s)

    def marked(chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.bincount(flows.window[chosen], minlength=len(flows.window_capture)) > 0

    def by_capture(windows: NDArray[np.bool_]) -> Numbers:
        return np.bincount(flows.window_capture[windows], minlength=n_captures).astype(np.int64)

    raised, true, hostile = marked(alert), marked(alert & flows.attack), marked(flows.attack)
    captures, begins = flows.campaigns
    hit = np.flatnonzero(alert & flows.attack)
    first = np.full(len(captures), np.inf)
    np.minimum.at(first, flows.campaign[hit], flows.judged[hit])
    found = np.isfinite(first)
    own = np.flatnonzero(flows.attack)
    begun = flows.start[own] <= first[flows.campaign[own]]
    timed = found & ~flows.jumps
    return IncidentCounts(
        alerts=np.bincount(flows.capture[alert], minlength=n_captures).astype(np.int64),
        true=by_capture(true),
        false=by_capture(raised & ~true),
        missed=by_capture(hostile & ~raised),
        found=found,
        seconds=np.where(timed, first - begins, np.nan),
        flows=np.where(timed, np.bincount(flows.campaign[own][begun], minlength=len(captures)), np.nan),
    )


def threshold_for(flows: WatchedFlows, scores: Floats, per_day: float) -> float:
    """The smallest of the scores (n,) of benign calibration ``flows`` above which they make at most ``per_day``
    incidents a day."""
    highest = np.full(len(flows.window_capture), -np.inf)
    np.maximum.at(highest, flows.window, scores)
    allowed = int(np.floor(per_day * flows.observed_s.sum() / DAY_S + 1e-9))
    if allowed >= len(highest):
        return float(scores.min())
    return float(np.sort(highest)[len(highest) - 1 - allowed])


def why_not_watched(capture: Numbers, host: Numbers, peer: Numbers, attack: NDArray[np.bool_]) -> str:
    """Why all flows (n,) of a dataset have no incidents, or an empty string: captures of one flow each have no host
    that is watched over time, and addresses that were taken away or made anew for every flow are no hosts."""
    alone = np.bincount(capture)[capture] == 1
    if alone.mean() > 0.5:
        return f"{alone.mean():.0%} of its flows are alone in their captures: no host is watched over time"
    if len(np.unique(np.concatenate([host, peer]))) < 2:
        return "all its flows have one address: hosts were made anonymous"
    benign = host[~attack]
    if len(benign) > 20 and len(np.unique(benign)) > 0.9 * len(benign):
        return "nearly every benign flow has an initiator of its own: hosts were made anonymous"
    return ""


def _numbered(*columns: Sequence[int] | Numbers) -> Numbers:
    """(n,) each row's place among the distinct ones."""
    number = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, place = np.unique(column, return_inverse=True)
        number = np.unique(number * len(values) + place, return_inverse=True)[1]
    return number.astype(np.int64)
