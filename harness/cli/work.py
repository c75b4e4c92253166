"""``janus-bench work``: do what ``run --executor folder:DIR`` has handed out, without the results and without any data
set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import console
from janus_bench.words import counted

if TYPE_CHECKING:
    from harness.handout import Task


def work(
    folder: Annotated[Path, typer.Argument(help="What `run --executor folder:DIR` wrote, or a copy of it.")],
    jobs: Annotated[int, typer.Option(min=1, help="Fits at a time.")] = 1,
) -> None:
    """Fit and score what was handed out, and leave the scores beside it.

    What has been answered well is not done again, what failed or would be refused is. The threads, time and memory of
    a fit are those that were asked for.

    What another worker holds is waited for, and done where that one was killed.

    Exit code: 0 all done, 1 some fits failed, 2 usage, 3 data, 130 interrupted.
    """
    from harness.handing import Worker
    from harness.handout import is_done, read_task, tasks_in
    from janus_bench.errors import InvalidScores, JanusBenchError

    waiting: list[tuple[Path, Task]] = []
    done = unknown = 0
    for place in tasks_in(folder):
        try:
            task = read_task(place)
            if is_done(task, place):
                done += 1
                continue
        except InvalidScores as error:
            console.say(f"refused, so done again: {error}")
        except JanusBenchError as error:
            console.say(f"janus-bench: {error}")
            unknown += 1
            continue
        waiting.append((place, task))
    console.say(f"{counted(len(waiting), 'fit')} to do, {done} done already")
    worker = Worker(waiting, jobs, console.say)
    failed = worker.run()
    if worker.interrupted:
        console.say(f"interrupted; what was finished is kept. Go on with: {console.retry_command()}")
        raise typer.Exit(130)
    console.say(
        f"{len(waiting) - failed} done, {failed + unknown} not; whoever handed them out runs the same `run` again"
    )
    raise typer.Exit(1 if failed + unknown else 0)
