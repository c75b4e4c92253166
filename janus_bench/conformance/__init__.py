"""Does a detector keep the contract?  Small named checks on small synthetic flows, in the manner of scikit-learn's
``estimator_checks``.

From code: ``check_detector(MyDetector)`` returns one ``CheckResult`` per check.  In a test suite::

    @parametrize_with_detectors([MyDetector])
    def test_contract(check):
        check()

A check that cannot hold is declared with its reason in ``Capabilities.exemptions`` and is then reported, not run.
"""

import functools
import traceback
import unittest
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from janus_bench.conformance.checks import CHECKS, STAGES, Subject, name_of
from janus_bench.quiet import ignore

_Test = TypeVar("_Test", bound=Callable[..., None])


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check; ``message`` is one line: what is wrong, the reason of the exemption, or the failed check
    without which this one would say the same again."""

    name: str
    status: Literal["passed", "failed", "exempt", "not made"]
    message: str = ""


def check_detector(target: Callable[..., Any], params: object = None) -> list[CheckResult]:
    """Every check on a detector class, or on a function without arguments that makes an unfitted detector.

    ``params`` is an instance of the class's ``Params``, used as it is; by default its ``check`` profile, else its
    ``quick`` profile, else its defaults.
    """
    return list(checked_one_by_one(target, params))


def check_names() -> list[str]:
    """In the order in which they are made."""
    return [name_of(check) for check in CHECKS]


def checked_one_by_one(
    target: Callable[..., Any], params: object = None, begins: Callable[[str], object] = ignore
) -> Iterator[CheckResult]:
    """``check_detector``, each result as soon as it is there; ``begins`` hears the name of each check before.

    A cause is said once: what fails in the very same way as the check before it, and everything after a stage in which
    something failed, is not made.
    """
    checks = dict(detector_checks(target, params))
    needed = ""
    for stage in STAGES:
        failed: dict[str, str] = {}
        for name in map(name_of, stage):
            if needed:
                yield CheckResult(name, "not made", f"needs {needed}")
                continue
            begins(name)
            result = run_check(name, checks[name])
            if result.status == "failed" and result.message in failed:
                result = CheckResult(name, "not made", f"fails as {failed[result.message]} does")
            elif result.status == "failed":
                failed[result.message] = name
            yield result
        needed = next(iter(failed.values()), needed)


def detector_checks(target: Callable[..., Any], params: object = None) -> Iterator[tuple[str, Callable[[], None]]]:
    """(name, check) pairs.  ``check()`` raises AssertionError, or whatever the detector raises, where the contract is
    broken, and ``unittest.SkipTest`` with the reason where the detector is exempt; pytest understands both."""
    subject = Subject(target, params)
    for check in CHECKS:
        yield name_of(check), partial(_unless_exempt, subject, check)


def run_check(name: str, check: Callable[[], None]) -> CheckResult:
    """Call one check of ``detector_checks``."""
    try:
        check()
    except unittest.SkipTest as reason:
        return CheckResult(name, "exempt", str(reason))
    except AssertionError as error:
        return CheckResult(name, "failed", _first_line(error) or "assertion failed inside the detector")
    except SystemExit as error:
        return CheckResult(name, "failed", f"it calls sys.exit({error.code!r}){_where(error)}")
    except Exception as error:  # noqa: BLE001  whatever a detector raises is a finding about the detector
        return CheckResult(name, "failed", f"{type(error).__name__}: {_first_line(error)}{_where(error)}")
    return CheckResult(name, "passed")


def parametrize_with_detectors(targets: Iterable[Callable[..., Any]]) -> Callable[[_Test], _Test]:
    """A pytest decorator that runs a test once per detector and check, the check as its argument ``check``."""
    import pytest

    cases = [
        pytest.param(check, id=f"{getattr(target, '__name__', 'detector')}-{name}")
        for target in targets
        for name, check in detector_checks(target)
    ]
    return pytest.mark.parametrize("check", cases)


def _unless_exempt(subject: Subject, check: Callable[[Subject], None]) -> None:
    # a class without is a finding of the first check
    declared = subject.capabilities if hasattr(subject.cls, "capabilities") else None
    reason = getattr(declared, "exemptions", {}).get(name_of(check))
    if reason is not None:
        raise unittest.SkipTest(reason)
    check(subject)


def _where(error: BaseException) -> str:
    """`` (file.py, line 12)``: the last line of the detector's own code on the way to the error, which may have been
    raised in a library; empty where none of it is the detector's."""
    here = Path(__file__).parents[1]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not Path(frame.filename).is_relative_to(here) and frame.filename != functools.__file__  # cached_property
    ]
    if not frames:
        return ""
    own = Path(frames[0].filename).parent
    last = next(frame for frame in reversed(frames) if Path(frame.filename).is_relative_to(own))
    return f" ({Path(last.filename).name}, line {last.lineno})"


def _first_line(error: BaseException) -> str:
    first, *others = str(error).strip().splitlines() or [""]
    return f"{first} …" if others else first
