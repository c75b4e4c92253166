"""Match rows of a ``labels.csv`` to flows: the same capture, the same 5-tuple in either direction, at the same time.

A row and a flow are matched at most once.  A flow that no row claims is unmatched, which does not make it benign.
"""

import polars as pl

from datasets_registry.block import LABEL_FIELDS
from datasets_registry.labelling.assignment import Assignment
from datasets_registry.labelling.keys import KEY_COLUMNS
from datasets_registry.labelling.labels_csv import LabelRows
from datasets_registry.labelling.times import NS
from janus_bench.errors import DataError


def match_rows(labels: LabelRows, flows: pl.DataFrame) -> Assignment:
    """Match every row to at most one flow; the report counts, label → {matched, unmatched_rows, ambiguous}.

    ``flows``: file, ``KEY_COLUMNS``, first and last (Int64, ns), one row per flow.  With p the precision of the labels'
    times, a row claims the first flow of its 5-tuple that lies in [start − p, end + p]; without an end, the flow that
    starts in [start − p, start + p].  Of several rows that claim one flow, those whose start agrees with the flow's
    come first; if these differ in label or family the flow stays unmatched, otherwise the nearest gets it; every other
    one is counted as ambiguous.  DataError if nothing matches at all, or if the clocks of labels and captures are
    plainly apart: the few rows that match then do so by accident.
    """
    precision = labels.precision
    keys = ["file", *KEY_COLUMNS]
    groups = flows.select(keys).unique(maintain_order=True).with_row_index("group")
    known = (
        flows.with_row_index("flow")
        .join(groups, on=keys, how="left")
        .sort("first", "flow")
        .select("flow", "group", "first", "last")
    )
    rows = labels.rows.join(groups, on=keys, how="left")
    claims = (
        rows.filter(pl.col("group").is_not_null())
        .with_columns(earliest=pl.col("start") - precision, latest=pl.col("end") + precision)
        .sort("earliest", "row")
        .join_asof(known, left_on="earliest", right_on="first", by="group", strategy="forward", check_sortedness=False)
        .filter(
            pl.when(pl.col("end").is_null())
            .then(pl.col("first") <= pl.col("start") + precision)
            .otherwise(pl.col("last") <= pl.col("latest"))
        )
        .with_columns(distance=(pl.col("first") - pl.col("start")).abs())
        .with_columns(off=pl.col("distance") > precision)
    )
    best = claims.filter(pl.col("off") == pl.col("off").min().over("flow"))
    agreeing = best.filter(
        (pl.col("label").n_unique().over("flow") == 1) & (pl.col("family").n_unique().over("flow") == 1)
    )
    won = agreeing.sort("flow", "distance", "row").unique("flow", keep="first", maintain_order=True)
    if claims.height and not agreeing.height:
        raise DataError(
            f"{labels.path}: every flow that its rows match is claimed by rows that differ in label or family"
        )
    _check_clock(labels, rows, known, won.height)
    table = labels.rows[won["row"].to_numpy()].select(LABEL_FIELDS)
    return Assignment(won["flow"].cast(pl.Int64).to_numpy(), table, _report(labels.rows, won["row"], claims["row"]))


def _report(rows: pl.DataFrame, won: pl.Series, claimed: pl.Series) -> dict[str, dict[str, int]]:
    matched = pl.col("row").is_in(won.implode())
    ambiguous = pl.col("row").is_in(claimed.implode()) & ~matched
    counts = rows.group_by("label").agg(matched=matched.sum(), ambiguous=ambiguous.sum(), rows=pl.len()).sort("label")
    return {
        label: {"matched": matched, "unmatched_rows": total - matched - ambiguous, "ambiguous": ambiguous}
        for label, matched, ambiguous, total in counts.select("label", "matched", "ambiguous", "rows").iter_rows()
    }


def _check_clock(labels: LabelRows, rows: pl.DataFrame, known: pl.DataFrame, matched: int) -> None:
    """DataError where the 5-tuples agree and the times do not; with the offset of the clocks if there is a common
    one."""
    shared = rows.filter(pl.col("group").is_not_null())
    where = f"{labels.path}: {matched or 'none'} of its {rows.height} rows match a flow of the captures"
    if not shared.height:
        raise DataError(
            f"{where}: no row's file and 5-tuple occur there; check the columns file, addresses, ports and proto"
        )
    if matched >= 0.5 * shared.height:
        return
    # The n-th row of a 5-tuple against its n-th flow, as far as both go: exact pairs are not needed to see a clock that
    # is off.
    nth_row = shared.sort("start", "row").with_columns(nth=pl.int_range(pl.len()).over("group"))
    nth_flow = known.with_columns(nth=pl.int_range(pl.len()).over("group"))
    unit = max(labels.precision, NS)
    offsets = nth_row.join(nth_flow, on=["group", "nth"]).select(
        ((pl.col("start") - pl.col("first")) / unit).round().cast(pl.Int64) * unit
    )
    mode, count = offsets.to_series().value_counts().sort("count", "start", descending=[True, False]).row(0)
    share = count / offsets.height
    if share >= 0.8 and mode != 0 and (offsets.height >= 10 or not matched):
        raise DataError(
            f"{where}: {shared.height} agree in file and 5-tuple, but ts_start is {mode / NS:+g} s off the "
            "flows' first packets "
            f"in {share:.0%} of them; subtract that time offset from ts_start and ts_end"
        )
    if not matched:
        raise DataError(
            f"{where}: {shared.height} agree in file and 5-tuple, but not in time, and there is no common time "
            "offset; check ts_start"
        )
