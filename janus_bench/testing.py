"""For a plugin's own tests: does a detector keep the contract?

::

    from janus_bench.testing import parametrize_with_checks

    @parametrize_with_checks([MyDetector])
    def test_contract(check):
        check()

``check_detector(MyDetector)`` does the same without pytest and returns one ``CheckResult`` per check.
"""

from janus_bench.conformance import CheckResult, check_detector, detector_checks
from janus_bench.conformance import parametrize_with_detectors as parametrize_with_checks

__all__ = ["CheckResult", "check_detector", "detector_checks", "parametrize_with_checks"]
