"""Every file of a results folder read as a whole: what is damaged, and put aside so that it is run again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from janus_bench.errors import DataError
from janus_bench.models import open_model
from janus_bench.quiet import ignore
from reports.results.folder import RunStore, read_plan, read_record

ASIDE = "damaged"


@dataclass(frozen=True)
class Damage:
    """A file that is not what it was written as: what is wrong with it, and the files that go aside with it, for
    without them it is run again."""

    path: Path
    what: str
    aside: tuple[Path, ...]


def damage_of(folder: Path, progress: Callable[[str, float], None] = ignore) -> Iterator[Damage]:
    """Rows, plans, scores, truths and timelines of ok rows, and models; the index beside them is not asked.  DataError
    where there are no results.

    A row whose scores are damaged goes aside with them.  A truth or timeline that is damaged goes alone: the next run
    writes it.
    """
    store = RunStore.open(folder)
    rows, records = sorted((folder / "results").glob("*.json")), []
    for place, path in enumerate(rows):
        progress("reading rows", place / len(rows))
        try:
            records.append((path, read_record(path)))
        except DataError as error:
            yield Damage(path, str(error), (path,))
    for path in sorted((folder / "plans").glob("*.json")):
        try:
            read_plan(path)
        except DataError as error:
            yield Damage(path, str(error), (path,))
    ok = [(path, record) for path, record in records if record.status == "ok"]
    for place, (path, record) in enumerate(ok):
        progress("reading scores", place / len(ok))
        scores = folder / "scores" / f"{record.key}.parquet"
        try:
            of = store.scores(record.key)
            if (targets := of["target"].unique().to_list()) != [record.spec["target"]]:
                raise DataError(
                    f"{scores} holds scores of another run (target {', '.join(map(str, targets))}, the row's is "
                    f"{record.spec['target']}): delete it and results/{record.key}.*.json, and run again"
                )
        except DataError as error:
            yield Damage(scores, str(error), (scores, path))
    for data_hash in sorted({str(record.spec["target_hash"]) for _, record in ok}):
        for name, read in (("truth", store.truth), ("timelines", store.timeline)):
            try:
                read(data_hash)
            except DataError as error:
                path = folder / name / f"{data_hash}.parquet"
                yield Damage(path, str(error), (path,))
    for model in sorted(path for path in (folder / "models").glob("*") if not path.name.startswith(".")):
        try:
            open_model(model)
        except DataError as error:
            yield Damage(model, str(error), (model,))


def put_aside(folder: Path, damage: Damage) -> None:
    """Move its files to the folder ``ASIDE``, in which nothing is read.  OSError where that cannot be."""
    for path in damage.aside:
        place = folder / ASIDE / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.rename(place)
