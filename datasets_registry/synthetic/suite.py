"""Writes a site: plans its captures, lets hosts and attackers act, and leaves capture files with labels.csv."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_registry.synthetic.frames import build_frames
from datasets_registry.synthetic.network import Host
from datasets_registry.synthetic.plan import Campaign, Place
from datasets_registry.synthetic.randomness import Dice
from datasets_registry.synthetic.scene import Scene
from datasets_registry.synthetic.sites import SITES
from datasets_registry.synthetic.trace import Trace
from datasets_registry.synthetic.world import World

SUITE_SEED = 20_240_304
WARM_UP = 120.0
"""Sessions begin this many seconds before the capture does, so that it starts in the middle of things."""

LABEL_COLUMNS = (
    "file",
    "ts_start",
    "ts_end",
    "src_ip",
    "src_port",
    "dst_ip",
    "dst_port",
    "proto",
    "n_packets",
    "label",
    "family",
    "source",
)


@dataclass(frozen=True)
class CapturePlan:
    """One capture: its name, start (seconds since the epoch) and length, and the campaigns that happen in it."""

    name: str
    begin: int
    duration: float
    background: bool
    campaigns: tuple[Campaign, ...]


def write_site(name: str, folder: Path, seed: int = SUITE_SEED) -> None:
    """Write the captures of a site and its labels.csv into ``folder``; the same bytes for the same seed, whatever else
    runs."""
    site = SITES[name]
    folder.mkdir(parents=True, exist_ok=True)
    world = World(site, Dice(seed, name, "world"))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(LABEL_COLUMNS)
        for plan in plan_captures(site, Dice(seed, name, "plan")):
            trace = simulate(plan, world, Dice(seed, name, "capture", plan.name))
            file = f"{plan.name}{site.container.suffix}"
            table.writerows(_write_capture(folder / file, site, plan, trace))


def plan_captures(site: Place, dice: Dice) -> list[CapturePlan]:
    """Which hour each capture is of, and which attacks it holds: every campaign is dealt to as many captures as it asks
    for, evenly."""
    busy = site.captures - site.quiet
    dealt: list[list[Campaign]] = [[] for _ in range(busy)]
    for campaign in site.campaigns:
        free = [number for number in range(busy) if campaign not in dealt[number]]
        for number in sorted(dice.sample(free, len(free)), key=lambda n: len(dealt[n]))[: campaign.captures]:
            dealt[number].append(campaign)
    contents = [(tuple(campaigns), number >= site.bare) for number, campaigns in enumerate(dealt)] + [
        ((), True)
    ] * site.quiet
    plans = []
    for number, (campaigns, background) in enumerate(dice.sample(contents, len(contents))):
        begin = (
            site.first_day
            + 86_400 * (number * 5 // site.captures)
            + 3_600 * dice.integer(7, 20)
            + dice.integer(0, 1_799)
        )
        plans.append(
            CapturePlan(f"{site.name}_{number:02d}", begin, 60 * dice.uniform(*site.minutes), background, campaigns)
        )
    return plans


def simulate(plan: CapturePlan, world: World, dice: Dice) -> Trace:
    """All packets of one capture."""
    site, trace = world.site, Trace()
    present = {group.name: dice.sample(world.hosts[group.name], dice.integer(*group.present)) for group in site.groups}
    scene = Scene(world.hosts, world.popularity, site.wan, dice, trace, plan.duration, present)
    if plan.background:
        for group in site.groups:
            for activity in group.activities:
                habit = dice.lognormal(1.0, 0.6)  # this segment, this hour
                quiet = scene.labelled(activity.application.family, attack=False)
                for host in present[group.name]:
                    for start in _starts(
                        dice, None if activity.per_hour is None else habit * activity.per_hour, plan.duration
                    ):
                        activity.application.run(quiet, dice, host, start)
    for campaign in plan.campaigns:
        attackers: list[Host] = dice.sample(scene.hosts(campaign.attackers), campaign.machines)
        hostile = scene.labelled(campaign.attack.family, attack=True)
        campaign.attack.run(hostile, dice, attackers, dice.uniform(0.02, 0.3) * plan.duration, campaign.flows)
    return trace


def _starts(dice: Dice, per_hour: float | None, duration: float) -> Iterator[float]:
    """Starts of a host's sessions: a Poisson process, or one start before the capture."""
    if per_hour is None:
        yield -dice.uniform(0.0, WARM_UP)
        return
    at = -WARM_UP + dice.exponential(3600.0 / per_hour)
    while at < duration:
        yield at
        at += dice.exponential(3600.0 / per_hour)


def _write_capture(file: Path, site: Place, plan: CapturePlan, trace: Trace) -> Iterator[tuple[object, ...]]:
    """Write one capture file; yields its rows of labels.csv."""
    ticks = site.container.ticks
    packets, clock = trace.sorted_packets(plan.duration, ticks)
    frames = build_frames(packets, trace.entries, site.vlan, site.padded)
    site.container.write(file, frames, clock + plan.begin * ticks)
    for row in trace.flow_rows(packets, clock, ticks):
        label = "attack" if row.entry.attack else "benign"
        times = (_seconds(plan.begin, row.first, ticks), _seconds(plan.begin, row.last, ticks))
        yield file.name, *times, *row.endpoints, row.entry.proto, row.packets, label, row.entry.family, plan.name


def _seconds(begin: int, tick: int, ticks: int) -> str:
    """A time as text, with six decimals."""
    micro = tick * 1_000_000 // ticks
    return f"{begin + micro // 1_000_000}.{micro % 1_000_000:06d}"
