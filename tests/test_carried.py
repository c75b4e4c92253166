"""A job that is carried elsewhere and back is the same job: scores, rows, log and model are those of a local run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.environment import environment
from harness.executors import Executor, Outcome, choice
from harness.executors.carried import Carried, Lost, carried_out, disagreement, done_here, inputs_of
from harness.jobs import Began, Event, Failed, Job, JobTarget, Progress, Scored, event_from, line_of
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


def a_job(folder: Path, *targets: str) -> Job:
    named = tuple(JobTarget(name, None, {}) for name in targets)
    return Job(str(folder), "", "x", {}, 1, "cpu", 1, None, None, (), "", None, named)


def test_what_a_lost_machine_was_at_is_begun_again_for_what_had_not_come_back(tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []
    heard: list[Event] = []

    def attempt(job: Job, stop: threading.Event) -> Generator[Carried | Outcome, None, None]:
        asked.append(tuple(target.name for target in job.targets))
        first, *others = asked[-1]
        yield Carried(Scored(first, None, None, None), {f"out/{first}/test.npy": first.encode()})
        if others:
            yield Carried(Failed("oom", "too much", others[0]), {})
            raise Lost("it is gone")
        yield Outcome("ok", "", 1.0, None)

    outcome = carried_out(a_job(tmp_path, "a", "b", "c"), threading.Event(), heard.append, attempt)
    assert (outcome.status, asked) == ("ok", [("a", "b", "c"), ("c",)])
    assert (tmp_path / "out" / "a" / "test.npy").read_bytes() == b"a"
    assert (tmp_path / "out" / "c" / "test.npy").read_bytes() == b"c"
    assert [event.text for event in heard if isinstance(event, Progress)] == ["begun again: it is gone"]


def test_a_machine_that_is_lost_again_and_again_is_given_up(tmp_path: Path) -> None:
    tries, stop = [], threading.Event()

    def attempt(job: Job, stop: threading.Event) -> Generator[Carried | Outcome, None, None]:
        tries.append(job)
        if len(tries) == 6:
            stop.set()
        yield Carried(Progress(0.5, ""), {})
        raise Lost("it is gone")

    outcome = carried_out(a_job(tmp_path, "a"), stop, lambda event: None, attempt)
    assert (outcome.status, outcome.reason, len(tries)) == ("killed", "it is gone, 4 times", 4)
    assert carried_out(a_job(tmp_path, "a"), stop, lambda event: None, attempt).status == "interrupted"
    assert len(tries) == 6


def test_an_attempt_is_closed_whatever_happens(tmp_path: Path) -> None:
    closed = []

    def attempt(job: Job, stop: threading.Event) -> Generator[Carried | Outcome, None, None]:
        try:
            yield Carried(Progress(0.5, ""), {})
        finally:
            closed.append(job)

    def fails(event: Event) -> None:
        raise OSError("no room for the row")

    with pytest.raises(OSError, match="no room"):
        carried_out(a_job(tmp_path, "a"), threading.Event(), fails, attempt)
    assert len(closed) == 1


def test_a_node_with_another_version_is_refused(numbered_home: Path, tmp_path: Path) -> None:  # noqa: F811
    job = a_job(tmp_path)
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
