"""check_detector: sound detectors pass, and each deliberately broken one fails exactly the check that is about its
fault."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import entry_points

import numpy as np
import pytest
import torch

from janus_bench.columns import FLOW_FEATURES
from janus_bench.conformance import check_detector, detector_checks, parametrize_with_detectors
from janus_bench.conformance.flows import mixed_flows
from janus_bench.contract import Capabilities
from janus_bench.errors import UsageError

pytest_plugins = ["pytester"]

BUILT_IN = {entry.name: entry for entry in entry_points(group="janus_bench.detectors")}
NAMES = ("janus", "janus-plus", "janus-context", "shafir", "iforest", "ocsvm", "length", "random")


@parametrize_with_detectors([BUILT_IN[name].load() for name in NAMES])
def test_built_in_detectors_keep_the_contract(check):
    check()


def test_reading_what_built_in_detectors_declare_imports_nothing_heavy():
    targets = [BUILT_IN[name].value.split(":")[0] for name in NAMES]
    code = (
        f"import importlib, sys; [importlib.import_module(m) for m in {targets}]; print(sorted({{'torch', "
        "'sklearn', 'nflows'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# A detector that keeps every promise: distance to the training mean, in units of a calibrated spread


@dataclass(frozen=True)
class Power:
    power: float = 1.0

    def __post_init__(self):
        if not self.power > 0:
            raise UsageError(f"sound: power must be positive, not {self.power}")


class Sound:
    Params = Power
    capabilities = Capabilities(inputs=frozenset({"features"}), calibrates=True)
    profiles = {"quick": {"power": 2.0}, "check": {"power": 1.5}}  # noqa: RUF012

    def __init__(self, params):
        self.params = params

    def fit(self, benign, ctx):
        columns = benign.feature_matrix(FLOW_FEATURES)
        self.mean, self.scale, self.unit = columns.mean(axis=0), columns.std(axis=0) + 0.1, 1.0

    def calibrate(self, benign):
        self.unit = 1.0
        self.unit = self.score(benign).mean()

    def score(self, flows):
        return (np.abs((flows.feature_matrix(FLOW_FEATURES) - self.mean) / self.scale) ** self.params.power).mean(
            axis=1
        ) / self.unit

    def explain(self, flows):
        return ["far out"] * len(flows)

    def save(self, folder):
        np.savez(folder / "sound.npz", mean=self.mean, scale=self.scale)

    @classmethod
    def load(cls, folder, params):
        loaded = cls(params)
        saved = np.load(folder / "sound.npz")
        loaded.mean, loaded.scale, loaded.unit = saved["mean"], saved["scale"], 1.0
        return loaded


# One fault each


class ExemptFromNothingKnown(Sound):
    capabilities = replace(Sound.capabilities, exemptions={"order_invarience": "a typing error"})


@dataclass(frozen=True)
class Unvalidated:
    power: float = 1.0


class AcceptsNan(Sound):
    Params = Unvalidated


@dataclass
class Mutable:
    power: float = 1.0


class ThawedParams(Sound):
    Params = Mutable


class MisspeltProfile(Sound):
    profiles = {"check": {"power": 1.5}, "paper": {"pwoer": 1.0}}  # noqa: RUF012


class OtherColumn(Sound):
    def score(self, flows):
        return {"anomaly": super().score(flows)}

    def calibrate(self, benign):
        pass


class OneColumnMatrix(Sound):
    def score(self, flows):
        return super().score(flows)[:, None]


class Integers(Sound):
    def score(self, flows):
        return (1000 * super().score(flows)).astype(np.int64)


class NanForLongFlows(Sound):
    def score(self, flows):
        return np.where(flows.features["n_packets"] > np.log1p(60), np.nan, super().score(flows))


class LowerIsAnomalous(Sound):
    def score(self, flows):
        return -super().score(flows)

    def calibrate(self, benign):
        pass


class EverySecondRow(Sound):
    def score(self, flows):
        return super().score(flows) * (1 + np.arange(len(flows)) % 2)


class RelativeToTheBatch(Sound):
    def score(self, flows):
        scores = super().score(flows)
        return scores - scores.mean()

    def calibrate(self, benign):
        pass


class ReadsIds(Sound):
    def score(self, flows):
        return super().score(flows) + 0.01 * (flows.ids % 7)


class Squeezes(Sound):
    def score(self, flows):
        return super().score(flows) * np.squeeze(flows.feature_matrix(FLOW_FEATURES))[:, 0] ** 0


class DividesByTheSpread(Sound):
    def fit(self, benign, ctx):
        super().fit(benign, ctx)
        self.scale = self.scale - 0.1

    def score(self, flows):
        with np.errstate(divide="ignore", invalid="ignore"):
            return super().score(flows)


class RemembersTheLastFit(Sound):
    def fit(self, benign, ctx):
        last = getattr(self, "mean", None)
        super().fit(benign, ctx)
        self.mean = self.mean if last is None else (self.mean + last) / 2


class SubsamplesUnseeded(Sound):
    def fit(self, benign, ctx):
        some = np.random.default_rng().permutation(len(benign))[:250]
        super().fit(benign.take(some) if len(benign) > 250 else benign, ctx)


class StandardisesInPlace(Sound):
    def fit(self, benign, ctx):
        super().fit(benign, ctx)
        column = benign.features["size_mean"]
        column.flags.writeable = True
        column -= column.mean()


class SeedsGlobally(Sound):
    def fit(self, benign, ctx):
        np.random.seed(ctx.seed)  # noqa: NPY002
        super().fit(benign, ctx)


class DrawsFromPython(Sound):
    def fit(self, benign, ctx):
        random.random()
        super().fit(benign, ctx)


class DrawsFromNumpyWhileScoring(Sound):
    def calibrate(self, benign):
        pass  # Sound's scores

    def score(self, flows):
        np.random.standard_normal()  # noqa: NPY002
        return super().score(flows)


class DrawsFromTorch(Sound):
    def fit(self, benign, ctx):
        torch.rand(1)
        super().fit(benign, ctx)


class DrawsFromTorchWhileScoring(Sound):
    def calibrate(self, benign):
        pass  # Sound's scores

    def score(self, flows):
        torch.randperm(3)
        return super().score(flows)


class DrawsFromTorchWhileCalibrating(Sound):
    def calibrate(self, benign):
        torch.nn.Linear(2, 2)  # initialised from the global generator
        super().calibrate(benign)


class SeedsTorch(Sound):
    def fit(self, benign, ctx):
        torch.manual_seed(ctx.seed)
        super().fit(benign, ctx)


def write_into(column, value):
    column.flags.writeable = True
    column[:] = value


class ChangesTheScoredFlows(Sound):
    def calibrate(self, benign):
        pass

    def score(self, flows):
        scores = super().score(flows)
        write_into(flows.ids, 0)
        return scores


class ChangesTheCalibrationFlows(Sound):
    def calibrate(self, benign):
        super().calibrate(benign)
        write_into(benign.ids, 0)


class ChangesTheValidationFlows(Sound):
    def fit(self, benign, ctx):
        super().fit(benign, ctx)
        write_into(ctx.validation.ids, 0)


class ChangesTheHints(Sound):
    capabilities = replace(Sound.capabilities, hints="few_shot")

    def fit(self, benign, ctx):
        super().fit(benign, ctx)
        write_into(ctx.hints.ids, 0)


class ChangesTheStream(Sound):
    capabilities = replace(Sound.capabilities, inputs=frozenset({"features", "stream"}))

    def calibrate(self, benign):
        pass

    def score(self, flows):
        write_into(flows.stream.time, 0.0)
        return super().score(flows)


class Complex(Sound):
    def score(self, flows):
        return super().score(flows) + 0j


class Masked(Sound):
    def score(self, flows):
        scores = super().score(flows)
        return np.ma.masked_array(scores, scores < 0)


class ReadsUndeclaredPackets(Sound):
    def score(self, flows):
        return super().score(flows) + flows.lengths


class AccumulatesCalibrations(Sound):
    def calibrate(self, benign):
        before = self.unit
        super().calibrate(benign)
        self.unit += before


class CalibratesUndeclared(Sound):
    capabilities = replace(Sound.capabilities, calibrates=False)


class ForgetsTheScale(Sound):
    @classmethod
    def load(cls, folder, params):
        loaded = super().load(folder, params)
        loaded.scale = np.ones_like(loaded.scale)
        return loaded


class CannotLoad(Sound):
    load = None


class ExplainsTheOddOnes(Sound):
    def explain(self, flows):
        return ["far out" for score in self.score(flows) if score > 2]


class ForgetsWhileItExplains(Sound):
    def explain(self, flows):
        self.mean = flows.feature_matrix(FLOW_FEATURES).mean(axis=0)
        return super().explain(flows)


BROKEN = [
    (ExemptFromNothingKnown, "capabilities"),
    (CalibratesUndeclared, "capabilities"),
    (ThawedParams, "params"),
    (AcceptsNan, "params"),
    (MisspeltProfile, "params"),
    (OtherColumn, "score_columns"),
    (OneColumnMatrix, "score_shape"),
    (Integers, "score_dtype"),
    (Complex, "score_dtype"),
    (Masked, "score_dtype"),
    (NanForLongFlows, "score_finite"),
    (LowerIsAnomalous, "orientation"),
    (EverySecondRow, "order_invariance"),
    (RelativeToTheBatch, "batch_invariance"),
    (ReadsIds, "opaque_ids"),
    (Squeezes, "single_flow"),
    (DividesByTheSpread, "constant_columns"),
    (RemembersTheLastFit, "refit_independence"),
    (SubsamplesUnseeded, "seed_determinism"),
    (StandardisesInPlace, "no_mutation"),
    (ChangesTheScoredFlows, "no_mutation"),
    (ChangesTheCalibrationFlows, "no_mutation"),
    (ChangesTheValidationFlows, "no_mutation"),
    (ChangesTheHints, "no_mutation"),
    (ChangesTheStream, "no_mutation"),
    (SeedsGlobally, "global_random_state"),
    (DrawsFromPython, "global_random_state"),
    (DrawsFromNumpyWhileScoring, "global_random_state"),
    (DrawsFromTorch, "global_random_state"),
    (DrawsFromTorchWhileScoring, "global_random_state"),
    (DrawsFromTorchWhileCalibrating, "global_random_state"),
    (SeedsTorch, "global_random_state"),
    (ReadsUndeclaredPackets, "declared_inputs"),
    (AccumulatesCalibrations, "calibration_replaces"),
    (ForgetsTheScale, "save_load"),
    (CannotLoad, "save_load"),
    (ExplainsTheOddOnes, "explain"),
    (ForgetsWhileItExplains, "explain"),
]


def test_a_sound_detector_passes_every_check_and_is_exempt_from_none():
    assert {result.status for result in check_detector(Sound)} == {"passed"}


@pytest.mark.parametrize(("detector", "fault"), BROKEN, ids=[detector.__name__ for detector, _ in BROKEN])
def test_a_broken_detector_fails_exactly_the_check_about_its_fault(detector, fault):
    failed = {result.name: result.message for result in check_detector(detector) if result.status == "failed"}
    assert set(failed) == {fault}, failed
    assert failed[fault]
    assert "\n" not in failed[fault]


def test_every_check_has_a_detector_that_breaks_it():
    assert {fault for _, fault in BROKEN} == {name for name, _ in detector_checks(Sound)}


def test_a_detector_without_anything_gets_a_result_for_every_check():
    class Empty:
        pass

    results = check_detector(Empty)
    assert [result.name for result in results] == [name for name, _ in detector_checks(Sound)]
    assert results[0].status == "failed"
    assert "capabilities" in results[0].message


def test_an_exception_is_one_line_with_its_place_and_a_cause_is_said_once():
    class Raises(Sound):
        def score(self, flows):
            raise RuntimeError("first line\nsecond line")

        def calibrate(self, benign):
            pass

    results = {result.name: result for result in check_detector(Raises)}
    first, again = results["score_columns"], results["score_shape"]
    assert first.status == "failed"
    assert re.fullmatch(r"RuntimeError: first line … \(test_conformance.py, line \d+\)", first.message)
    assert (again.status, again.message) == ("not made", "fails as score_columns does")
    assert (results["orientation"].status, results["orientation"].message) == ("not made", "needs score_columns")
    assert results["params"].status == "passed"


def test_the_place_of_an_exception_is_the_detector_s_whatever_stands_between():
    class Raises(Sound):
        def fit(self, benign, ctx):
            raise ValueError("no")

    (result,) = (each for each in check_detector(Raises) if each.status == "failed")
    assert re.fullmatch(r"ValueError: no \(test_conformance.py, line \d+\)", result.message)


def test_an_exemption_is_reported_with_its_reason_and_the_check_is_not_run():
    class Exempt(LowerIsAnomalous):
        capabilities = replace(Sound.capabilities, exemptions={"orientation": "it is upside down on purpose"})

    results = {result.name: result for result in check_detector(Exempt)}
    assert (results["orientation"].status, results["orientation"].message) == ("exempt", "it is upside down on purpose")
    assert "failed" not in {result.status for result in results.values()}


def test_a_detector_that_declares_itself_random_is_not_asked_for_determinism():
    class Noisy(SubsamplesUnseeded):
        capabilities = replace(Sound.capabilities, deterministic=False)

    exempt = {result.name for result in check_detector(Noisy) if result.status == "exempt"}
    assert exempt == {"refit_independence", "seed_determinism"}


@pytest.mark.parametrize(
    ("profiles", "power"),
    [({"quick": {"power": 2.0}, "check": {"power": 1.5}}, 1.5), ({"quick": {"power": 2.0}}, 2.0), ({"paper": {}}, 1.0)],
)
def test_the_cheapest_profile_is_checked_by_default(profiles, power):
    used = set()

    class Recording(Sound):
        def fit(self, benign, ctx):
            used.add(self.params.power)
            super().fit(benign, ctx)

    Recording.profiles = profiles
    check_detector(Recording)
    assert used == {power}
    used.clear()
    check_detector(Recording, Power(3.0))
    assert used == {3.0}


def test_a_function_that_makes_a_detector_can_be_checked():
    results = check_detector(lambda: Sound(Power(2.5)))
    assert {result.status for result in results} == {"passed"}


def test_in_pytest_an_exemption_is_a_skip_with_its_reason(pytester):
    pytester.makepyfile(
        """
        from detectors.controls import Random
        from janus_bench.testing import parametrize_with_checks

        @parametrize_with_checks([Random])
        def test_contract(check):
            check()
        """
    )
    result = pytester.runpytest("-n0", "-rs", "-p", "no:cacheprovider")
    outcomes = result.parseoutcomes()
    assert outcomes["skipped"] == 5
    assert outcomes["passed"] == len(list(detector_checks(Sound))) - 5
    result.stdout.fnmatch_lines(["*scores are noise by row*"])


def test_probe_flows_carry_the_features_that_their_packets_give():
    flows = mixed_flows()
    dense, mask = flows.padded()
    for i in np.random.default_rng(0).choice(len(flows), 20, replace=False):
        packets = dense[i][mask[i]].astype(np.float64)
        size, gaps, backward = packets[:, 0], packets[1:, 1], packets[:, 2] == 1
        assert packets[0, 1] == 0
        expected = {
            "log_duration": np.log1p(gaps.sum()),
            "n_bwd": np.log1p(backward.sum()),
            "bytes_fwd": np.log1p(size[~backward].sum()),
            "size_std": np.log1p(np.sqrt(np.mean((size - size.mean()) ** 2))),
            "iat_max": np.log1p(gaps.max(initial=0.0)),
            "count_ack": np.log1p(packets[:, 7].sum()),
            "down_up_ratio": backward.sum() / max((~backward).sum(), 1),
        }
        for name, value in expected.items():
            assert flows.features[name][i] == pytest.approx(value, rel=1e-9), name


def test_the_door_for_plugin_authors_is_the_same_checks():
    from janus_bench import testing

    assert testing.check_detector is check_detector
    assert testing.detector_checks is detector_checks
    assert testing.parametrize_with_checks is parametrize_with_detectors
