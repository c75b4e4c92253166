"""What is benign: flows whose label is ``benign``, in any case, or one of the words that whoever adds the dataset names
for it.  A label that looks as if it meant that is warned of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from janus_bench.errors import UsageError, unknown

if TYPE_CHECKING:
    import polars as pl

BENIGN = "benign"
LOOKS_BENIGN = re.compile(
    r"benign.*|normal.*|legit(imate)?.*|background.*|clean.*|good(ware)?|regular|harmless|innocuous"
    r"|non[\W_]?(attack|malicious)|no[\W_]?attack|ok|none|null|nan|n/?a|-|0(\.0+)?|false|no",
    re.IGNORECASE,
)


def benign_words(text: str) -> frozenset[str]:
    """The words of ``--benign`` (between commas, case does not matter), in lower case; UsageError for an empty one."""
    words = [word.strip().lower() for word in text.split(",")] if text else []
    if not all(words):
        raise UsageError(f"--benign {text!r}: an empty word; give labels with commas between them, such as Normal,0")
    return frozenset(words)


def as_benign(labels: pl.Series, words: frozenset[str] = frozenset()) -> pl.Series:
    """(n,) Boolean: which of ``labels`` (n,) String mean benign; UsageError for one of ``words`` that none of them
    is."""
    written = labels.unique().drop_nulls().to_list()
    for word in sorted(words):
        if word not in {label.lower() for label in written}:
            raise unknown("label", word, written, "--benign takes labels of the dataset, with commas between them.")
    return labels.str.to_lowercase().is_in([BENIGN, *sorted(words)]).fill_null(False)


def read_as(written: pl.Series, label: pl.Series, attack: pl.Series) -> dict[str, dict[str, Any]]:
    """Label as it is written → what it was read as and how many rows say so (``manifest.LabelRead``), the most frequent
    first; all (n,)."""
    import polars as pl

    counts = (
        pl.DataFrame({"written": written, "label": label, "attack": attack})
        .group_by(pl.all())
        .len()
        .sort("len", "written", descending=[True, False])
    )
    return {text: {"label": label, "attack": attack, "rows": rows} for text, label, attack, rows in counts.iter_rows()}


def shown_read_as(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Rows for people: label as written, what it was read as, rows."""
    return [
        (text, f"attack {read['label']!r}" if read["attack"] else BENIGN, str(read["rows"]))
        for text, read in found.items()
    ]


def benign_warnings(labels: Mapping[str, tuple[int, bool]], *, option: bool = True) -> Sequence[str]:
    """Lines to warn with; ``labels``: name → flows, and whether they are attacks; ``option``: ``--benign`` can say what
    is meant."""
    said = []
    if labels and all(attack for _, attack in labels.values()):
        meant = f"only the label {BENIGN!r} means that{', and what --benign names' if option else ''}"
        said.append(f"no flow is benign: {meant}; nothing can be trained on this dataset, and nothing calibrated")
    alike = {
        name: flows
        for name, (flows, attack) in sorted(labels.items())
        if attack and LOOKS_BENIGN.fullmatch(name.strip())
    }
    if alike:
        shown = ", ".join(f"{name!r} ({flows} flows)" for name, flows in alike.items())
        words = ",".join(name.strip() for name in alike)
        instead = (
            f"if that is what they mean, add the dataset again with --replace --benign {words!r}"
            if option
            else f"write {BENIGN!r} where that is meant, and add the dataset again"
        )
        said.append(f"labels that look benign are taken for attacks: {shown}; {instead}")
    return said
