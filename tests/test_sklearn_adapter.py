"""sklearn:CLASS: scikit-learn's own scores turned round, its parameters by name, and one line for what cannot be."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from detectors.sklearn_adapter import sklearn_detector
from janus_bench.conformance import check_detector
from janus_bench.errors import UsageError
from janus_bench.params import build_params
from janus_bench.plugins import describe_detector
from tests.factories import fitted
from tests.factories import on_features as flows

RNG = np.random.default_rng(0)
TRAIN, TEST = RNG.normal(size=(300, 20)), np.concatenate([RNG.normal(size=(60, 20)), 3 * RNG.normal(size=(20, 20))])
SCALER = StandardScaler().fit(TRAIN)
LOF = "sklearn.neighbors.LocalOutlierFactor"


def made(name: str, **given: str):
    """The detector with parameters given as text."""
    loaded = describe_detector(f"sklearn:{name}", sklearn_detector(name))
    return loaded.create(build_params(loaded.name, loaded.params_type, given))


@pytest.mark.parametrize(
    ("name", "text", "arguments"),
    [
        (LOF, {"n_neighbors": "9"}, {"novelty": True, "n_neighbors": 9}),
        ("sklearn.svm.OneClassSVM", {"gamma": ".01", "nu": ".2"}, {"gamma": 0.01, "nu": 0.2}),
        ("sklearn.covariance.EllipticEnvelope", {}, {"random_state": 3}),
        (
            "sklearn.mixture.GaussianMixture",
            {"n_components": "2"},
            {"n_components": 2, "random_state": 3},
        ),
    ],
)
def test_scores_are_scikit_learn_s_own_and_higher_is_more_anomalous(name, text, arguments):
    module, _, own = name.rpartition(".")
    model = getattr(importlib.import_module(module), own)(**arguments).fit(SCALER.transform(TRAIN))
    expected = -model.score_samples(SCALER.transform(TEST))
    scores = fitted(made(name, **text), flows(TRAIN), seed=3).score(flows(TEST))
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4 * np.ptp(expected))
    assert scores[60:].mean() > scores[:60].mean()


@pytest.mark.parametrize("name", [LOF, "sklearn.svm.OneClassSVM"])
def test_the_contract_is_kept(name):
    results = check_detector(sklearn_detector(name))
    assert len(results) > 10
    assert [result for result in results if result.status == "failed"] == []


def test_a_run_s_record_rebuilds_the_parameters_and_the_seed_is_the_run_s():
    params = made("sklearn.ensemble.IsolationForest", max_samples="64").params
    assert type(params)(**asdict(params)) == params
    assert not {"contamination", "random_state", "n_jobs", "verbose"} & set(asdict(params))
    detector = made("sklearn.ensemble.IsolationForest")
    fitted(detector, flows(TRAIN), seed=5)
    assert detector._model.random_state == 5


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("LocalOutlierFactor", {}, rf"unknown class of scikit-learn 'LocalOutlierFactor'. Did you mean '{LOF}'"),
        ("os.path", {}, "unknown class of scikit-learn 'os.path'"),
        ("sklearn.svm.SVC", {}, "does not score flows after a fit without labels; those that do: .*OneClassSVM"),
        ("sklearn.svm.LinearSVR", {}, "does not score flows after a fit without labels"),
        (LOF, {"novelty": "false"}, r"with these parameters \(novelty=false\) it scores only what it was fitted on"),
        (LOF, {"n_neighbors": "0"}, "refuses the parameters: The 'n_neighbors' parameter of"),
        (LOF, {"neighbours": "3"}, "unknown parameter of .*'neighbours'. Did you mean 'n_neighbors'"),
        ("sklearn.svm.OneClassSVM", {"kernel": "round"}, "refuses the parameters: The 'kernel' parameter of"),
    ],
)
def test_what_cannot_be_is_one_line(name, given, said):
    with pytest.raises(UsageError, match=said) as caught:
        made(name, **given)
    assert "\n" not in str(caught.value)


def test_importing_the_adapter_does_not_import_scikit_learn():
    code = "import sys, detectors.sklearn_adapter; print('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
