"""pyod:NAME: PyOD's own scores through the adapter, its parameters by name, and one line for what is missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import asdict, fields

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from detectors.pyod_adapter import pyod_detector
from detectors.simple import ECOD
from janus_bench.conformance import check_detector
from janus_bench.errors import PluginError, UsageError
from janus_bench.params import build_params
from janus_bench.plugins import describe_detector
from tests.factories import fitted
from tests.factories import on_features as flows

needs_pyod = pytest.mark.skipif(
    importlib.util.find_spec("pyod") is None, reason="PyOD is not installed: pip install 'janus-bench[pyod]'"
)


RNG = np.random.default_rng(0)
TRAIN, TEST = RNG.normal(size=(300, 20)), np.concatenate([RNG.normal(size=(60, 20)), 3 * RNG.normal(size=(20, 20))])
SCALER = StandardScaler().fit(TRAIN)


def reference(name, **arguments):
    """PyOD by itself."""
    module = pytest.importorskip(f"pyod.models.{name.lower()}")
    return getattr(module, name)(**arguments).fit(SCALER.transform(TRAIN)).decision_function(SCALER.transform(TEST))


@needs_pyod
@pytest.mark.parametrize("name", ["ECOD", "COPOD", "LOF", "KNN"])
def test_scores_are_pyod_s_own(name):
    expected = reference(name)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(
        fitted(pyod_detector(name)(), flows(TRAIN), seed=3).score(flows(TEST)), expected, rtol=1e-4
    )


@needs_pyod
def test_parameters_given_as_text_reach_pyod_and_the_seed_is_the_run_s():
    knn = describe_detector("pyod:KNN", pyod_detector("KNN"))
    params = build_params("pyod:KNN", knn.params_type, {"n_neighbors": "9", "method": "mean", "p": "1"})
    np.testing.assert_allclose(
        fitted(knn.create(params), flows(TRAIN), seed=3).score(flows(TEST)),
        reference("KNN", n_neighbors=9, method="mean", p=1),
        rtol=1e-4,
    )
    forest = describe_detector("pyod:IForest", pyod_detector("IForest"))
    # the default of max_samples is a word
    params = build_params("pyod:IForest", forest.params_type, {"max_samples": "64", "n_estimators": "20"})
    expected = reference("IForest", max_samples=64, n_estimators=20, random_state=3)
    np.testing.assert_allclose(
        fitted(forest.create(params), flows(TRAIN), seed=3).score(flows(TEST)), expected, atol=5e-3
    )


@needs_pyod
def test_a_run_s_record_rebuilds_the_parameters():
    knn = pyod_detector("KNN")
    params = knn.Params(n_neighbors=7)
    assert knn.Params(**asdict(params)) == params
    assert {"contamination", "n_jobs", "metric_params"} & {field.name for field in fields(params)} == {"metric_params"}


@needs_pyod
@pytest.mark.parametrize("name", ["LOF", "KNN", "ECOD", "COPOD"])
def test_pyod_detectors_keep_the_contract_and_say_where_scores_depend_on_their_company(name):
    results = {result.name: result.status for result in check_detector(pyod_detector(name))}
    assert "failed" not in results.values()
    together = name in ("ECOD", "COPOD")
    assert (results["batch_invariance"] == "exempt") == together
    assert pyod_detector(name).capabilities.uses_labels == together


@needs_pyod
@pytest.mark.parametrize("name", ["ECOD", "COPOD"])
def test_the_exempt_ones_do_depend_on_their_company(name):
    """What the exemption and the dagger claim; our ``ecod`` does not."""
    model = fitted(pyod_detector(name)(), flows(TRAIN), seed=3)
    assert np.abs(model.score(flows(TEST))[:10] - model.score(flows(TEST[:10]))).max() > 0.1
    ours = fitted(ECOD(), flows(TRAIN), seed=3)
    np.testing.assert_array_equal(ours.score(flows(TEST))[:10], ours.score(flows(TEST[:10])))


@needs_pyod
def test_packets_can_be_the_input():
    detector = pyod_detector("KNN")
    assert [
        result for result in check_detector(detector, detector.Params(input="packets")) if result.status == "failed"
    ] == []


@needs_pyod
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoSuch", "PyOD has no class NoSuch"),
        ("KNNN", "Did you mean pyod:KNN?"),
        ("AutoEncoders", "Did you mean pyod:AutoEncoder?"),
        ("Knn", "write pyod:KNN"),
        ("DeepSVDD", "needs n_features, which a parameter cannot express"),
        ("base", "PyOD has no detector base"),
    ],
)
def test_a_name_that_cannot_be_used_is_one_line(name, message):
    with pytest.raises(UsageError, match=message) as caught:
        pyod_detector(name)
    assert "\n" not in str(caught.value)


@needs_pyod
def test_wrong_parameters_are_refused():
    knn = pyod_detector("KNN")
    with pytest.raises(UsageError, match="pyod:KNN: input must be packets, or one or more of features"):
        knn.Params(input="bytes")
    with pytest.raises(UsageError, match="pyod:KNN: radius must be a finite number"):
        knn.Params(radius=float("nan"))
    lof = pyod_detector("LOF")
    with pytest.raises(PluginError, match=r"pyod:LOF: score\(\) before fit\(\)"):
        lof().score(flows(TEST))


def test_without_pyod_there_is_one_line_with_the_pip_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyod", None)  # Python's own marker of a module that cannot be imported
    monkeypatch.setitem(sys.modules, "pyod.models", None)
    with pytest.raises(PluginError) as caught:
        pyod_detector.__wrapped__("KNN")
    assert str(caught.value) == "pyod:KNN needs PyOD, which is not installed: pip install 'janus-bench[pyod]'"


def test_importing_the_adapter_imports_neither_pyod_nor_scikit_learn():
    code = "import sys, detectors.pyod_adapter; print(sorted({'pyod', 'sklearn', 'torch'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
