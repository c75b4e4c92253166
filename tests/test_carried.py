"""A job that is carried elsewhere and back is the same job: scores, rows, log and model are those of a local run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.environment import environment
from harness.executors import Executor, Outcome, choice
from harness.executors.carried import Carried, carried_out, disagreement, done_here, inputs_of
from harness.jobs import Began, Event, Job, event_from, line_of
from harness.request import machine_for
from janus_bench.errors import UsageError
from tests.test_same_bits import ONE_OF_A_KIND, run
from tests.test_who_is_given_what import numbered_home  # noqa: F401  a fixture

CELLS = [("north", "north"), ("north", "south")]


class Elsewhere:
    """Carries a job to another folder, where nothing is known but what came along, and back."""

    def __init__(self) -> None:
        self.stages: set[str] = set()
        self.asked_by = environment()

    def run(self, job: Job, stop: threading.Event, on_event: Callable[[Event], None]) -> Outcome:
        return carried_out(job, stop, on_event, self._once)

    def _once(self, job: Job, stop: threading.Event) -> Generator[Carried | Outcome, None, None]:
        inputs = {name: path.read_bytes() for name, path in inputs_of(job).items()}
        hidden = Path(job.folder) / "in"
        aside = hidden.rename(hidden.with_name("aside"))
        yield from done_here(replace(job, code="/another/place"), inputs, self.asked_by)
        aside.rename(hidden)


def test_scores_of_a_job_that_was_carried_are_the_same_bits(numbered_home: Path, tmp_path: Path) -> None:  # noqa: F811
    detector = ONE_OF_A_KIND[0]
    here = run(numbered_home, tmp_path / "here", ("north", "south"), CELLS, [detector])
    there = run(numbered_home, tmp_path / "there", ("north", "south"), CELLS, [detector], Elsewhere())
    assert here.records().keys() == there.records().keys()
    for key, record in there.records().items():
        assert there.scores(key).equals(here.scores(key))
        assert record.metrics == here.records()[key].metrics
        assert record.environment == {**environment(), "threads": "1"}
        saved = [sorted((store.folder / "models" / record.fit_key).rglob("*")) for store in (here, there)]
        assert [path.name for path in saved[0]] == [path.name for path in saved[1]] != []
        assert (there.folder / "logs" / f"{record.fit_key}.log").exists()


def test_a_node_with_another_version_is_refused(numbered_home: Path, tmp_path: Path) -> None:  # noqa: F811
    job = Job(str(tmp_path), "", "x", {}, 1, "cpu", 1, None, None, (), "", None, ())
    other = {**environment(), "janus-bench": "0.0.1"}
    began, outcome = done_here(job, {}, other)
    assert isinstance(began, Carried)
    assert began.event == Began(environment())
    assert isinstance(outcome, Outcome)
    assert outcome.status == "error"
    assert "0.0.1: install the same there" in outcome.reason
    assert disagreement(environment(), environment()) == ""
    assert "code 0123" in disagreement(environment(), {**environment(), "code": "0123"})


def test_a_child_cannot_say_on_which_machine_it_is() -> None:
    assert event_from(line_of(Began({"processor": "a better one"}))) is None


def test_an_executor_that_has_more_machines_says_how_many_fits_they_have_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Wide(Elsewhere):
        def fits_at_once(self, threads: int) -> int:
            return 64 // threads

    def wide(rest: str) -> Executor:
        return Wide()

    monkeypatch.setattr(choice, "EXECUTORS", {**choice.EXECUTORS, "ray": wide})
    narrow, found = (machine_for("cpu", None, "1h", "", name) for name in ("local", "ray"))
    assert found.threads == narrow.threads
    assert found.jobs == 64 // found.threads
    assert machine_for("cpu", 5, "1h", "", "ray").jobs == 5


def test_ray_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UsageError, match="pip install 'janus-bench\\[ray\\]'"):
        choice.chosen_executor("ray")
