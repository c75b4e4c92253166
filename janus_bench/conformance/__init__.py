"""Does a detector keep the contract?  Small named checks on small synthetic flows, in the manner of scikit-learn's
``estimator_checks``.

From code: ``check_detector(MyDetector)`` returns one ``CheckResult`` per check.  In a test suite::

    @parametrize_with_detectors([MyDetector])
    def test_contract(check):
        check()

A check that cannot hold is declared with its reason in ``Capabilities.exemptions`` and is then reported, not run.
"""

import unittest
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from janus_bench.conformance.checks import CHECKS, Subject, name_of

_Test = TypeVar("_Test", bound=Callable[..., None])


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check; ``message`` is one line: what is wrong, or the reason of the exemption."""

    name: str
    status: Literal["passed", "failed", "exempt"]
    message: str = ""


def check_detector(target: Callable[..., Any], params: object = None) -> list[CheckResult]:
    """Every check on a detector class, or on a function without arguments that makes an unfitted detector.

    ``params`` is an instance of the class's ``Params``, used as it is; by default its ``check`` profile, else its
    ``quick`` profile, else its defaults.  A failing check never stops the others.
    """
    return [run_check(name, check) for name, check in detector_checks(target, params)]


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
    except Exception as error:  # noqa: BLE001  whatever a detector raises is a finding about the detector
        return CheckResult(name, "failed", f"{type(error).__name__}: {_first_line(error)}")
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


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")
