"""Match rows of a flow meter to flows: the same 5-tuple in either direction, at the same time.

A meter cuts flows by its own rules: CICFlowMeter ends one at a FIN and after 120 s, so that a connection has several
rows, and one row can cover two flows where a capture ends between them.  So a row claims every flow of its 5-tuple that
has time in common with [start − precision, start + precision + duration], and a flow takes the label of its rows if all
have the same one.  A flow's own row is the one that starts nearest to its first packet; each row and each flow is
counted once.
"""

from dataclasses import dataclass

import polars as pl

from datasets_registry.labelling.keys import KEY_COLUMNS


@dataclass(frozen=True, eq=False)
class Overlap:
    """flows: flow, row (Int64), label: the labelled flows and the row of each.  rows and rest: what became of every row
    and every other flow.

    rows  row, label, fate: matched (a flow's own row), parts (it claims a labelled flow that another row is nearer to),
          ambiguous (all flows that it claims are claimed with other labels, too), unmatched_rows (no flow of its
          5-tuple at that time)
    rest  flow, label (null if the 5-tuple has no row, or rows of several labels), fate: unmatched_flows, or
          ambiguous_flows
    """

    flows: pl.DataFrame
    rows: pl.DataFrame
    rest: pl.DataFrame


def with_sessions(rows: pl.DataFrame, flows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both tables with the number of their 5-tuple in place of ``KEY_COLUMNS``: session, null in ``rows`` where no flow
    has it."""
    sessions = flows.select(KEY_COLUMNS).unique(maintain_order=True).with_row_index("session")
    return tuple(  # type: ignore[return-value]
        table.join(sessions, on=KEY_COLUMNS, how="left", maintain_order="left").drop(KEY_COLUMNS)
        for table in (rows, flows)
    )


def match_overlapping(rows: pl.DataFrame, flows: pl.DataFrame) -> Overlap:
    """``rows``: row, session (see ``with_sessions``), start, duration, precision (Int64, ns), label.  ``flows``: flow,
    session, first, last (ns)."""
    claims = _claims(rows, flows)
    claims = claims.with_columns(
        agreed=pl.col("label").n_unique().over("flow") == 1, distance=(pl.col("start") - pl.col("first")).abs()
    )
    own = (
        claims.filter("agreed")
        .sort("flow", "distance", "row")
        .unique("flow", keep="first", maintain_order=True)
        .select("flow", "row", "label")
    )
    mine, claimed, agreed = own["row"].implode(), claims["row"].implode(), claims.filter("agreed")["row"].implode()
    fate = (
        pl.when(pl.col("row").is_in(mine))
        .then(pl.lit("matched"))
        .when(pl.col("row").is_in(agreed))
        .then(pl.lit("parts"))
        .when(pl.col("row").is_in(claimed))
        .then(pl.lit("ambiguous"))
        .otherwise(pl.lit("unmatched_rows"))
    )
    only = pl.when(pl.col("label").n_unique() == 1).then(pl.col("label").first())
    labels = rows.filter(pl.col("session").is_not_null()).group_by("session").agg(label=only)
    rest = (
        flows.filter(~pl.col("flow").is_in(own["flow"].implode()))
        .join(labels, on="session", how="left", maintain_order="left")
        .with_columns(
            fate=pl.when(pl.col("flow").is_in(claims["flow"].implode()))
            .then(pl.lit("ambiguous_flows"))
            .otherwise(pl.lit("unmatched_flows"))
        )
    )
    return Overlap(own, rows.select("row", "label", fate=fate), rest.select("flow", "label", "fate"))


def _claims(rows: pl.DataFrame, flows: pl.DataFrame) -> pl.DataFrame:
    """Every pair of a row and a flow of its 5-tuple that have time in common: row, flow, label, start, first."""
    # Captures of one group may cover the same time, so that flows of a session may overlap; their latest end so far
    # does rise.
    ordered = flows.sort("session", "first", "flow").with_columns(reach=pl.col("last").cum_max().over("session"))
    ordered = ordered.with_columns(place=pl.int_range(pl.len(), dtype=pl.Int64))
    lowest = ordered.select("session", "reach", low="place").sort("reach", "low")
    highest = ordered.select("session", "first", high="place").sort("first", "high")
    wanted = (
        rows.filter(pl.col("session").is_not_null())
        .select("row", "session", "label", "start", "duration", begin=pl.col("start") - pl.col("precision"))
        .with_columns(end=pl.col("start") + (pl.col("start") - pl.col("begin")) + pl.col("duration"))
        .sort("begin")
        .join_asof(lowest, left_on="begin", right_on="reach", by="session", strategy="forward", check_sortedness=False)
        .sort("end")
        .join_asof(highest, left_on="end", right_on="first", by="session", check_sortedness=False)
        .filter(pl.col("low") <= pl.col("high"))
    )
    return (
        wanted.with_columns(place=pl.int_ranges("low", pl.col("high") + 1))
        .explode("place")
        .drop("first", "session")
        .join(ordered.select("place", "flow", "first", "last"), on="place", how="left")
        .filter(pl.col("last") >= pl.col("begin"))
        .select("row", "flow", "label", "start", "first")
    )
