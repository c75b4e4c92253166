"""Every preset of the built-in detectors keeps the contract under its own parameters, and every built-in detector is on
the list."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pytest
from safetensors.numpy import save_file

from detectors.shared.saving import load_arrays
from janus_bench import plugins
from janus_bench.errors import DataError
from janus_bench.params import build_params
from tests.factories import broken_by_parameters

PRESETS = sorted(plugins.presets())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_keeps_the_contract(name, monkeypatch, one_thread):
    # Shapley values of few flows in one order: a contract is kept or broken whatever they are worth.
    monkeypatch.setattr("detectors.shafir._EXPLAINED", 20)
    monkeypatch.setattr("detectors.shafir._PERMUTATIONS", 1)
    loaded = plugins.load_detector(name)
    profile = loaded.profiles.get("check", loaded.profiles.get("quick", {}))
    params = build_params(loaded.name, loaded.params_type, profile, loaded.preset)
    assert broken_by_parameters(loaded.factory, params) == []


def test_presets_of_inputs_read_that_input_alone():
    for name in PRESETS:
        if name.endswith("-packets"):
            loaded = plugins.load_detector(name)
            assert loaded.declaring(
                build_params(loaded.name, loaded.params_type, loaded.preset)
            ).capabilities.inputs == {"packets"}
    assert {
        "ae-packets",
        "iforest-packets",
        "memae-packets",
        "ocsvm-packets",
        "sparse-memae-packets",
        "tccm-packets",
    } <= set(PRESETS)


INPUT = {"input": "features"}
PACKETS = {"input": "packets"}
ADAM = {"epochs": 100, "batch": 128, "lr": 1e-3}
AUTOENCODER = {**INPUT, "hidden": 128, "code": 8, **ADAM, "patience": 10}
AUTOENCODER_PROFILES = {"quick": {"epochs": 50}, "check": {"epochs": 5}}
KITNET = {"largest": 10, "rate": 0.1, "hidden": 0.75, "fm_grace": 5000, "fm_share": 0.1}

TEACHER = {"teacher": "ssl", "teacher_epochs": 30, "width": 32}
STUDENT = {**TEACHER, **ADAM, "pool": "max"}
STUDENT_CHECK = {"teacher_epochs": 1, "width": 8, "epochs": 2}
RANDOM = {"teacher": "random"}
TRIO_CHECK = {"width": 4, "code": 8, "epochs": 8, "batch": 16, "lr": 2e-3}
GANOMALY = {"width": 64, "code": 100, "epochs": 100, "batch": 64, "lr": 2e-4} | {
    "adversarial": 1.0,
    "contextual": 50.0,
    "latent": 1.0,
}
TRIO_PROFILES = {"quick": {"width": 16, "epochs": 30}, "paper": {}, "check": TRIO_CHECK}

DECLARED = {
    "iforest": ({**INPUT, "n_estimators": 100, "max_samples": 256}, {}, {"iforest-packets": PACKETS}),
    "ocsvm": ({**INPUT, "nu": 0.5}, {}, {"ocsvm-packets": PACKETS}),
    "ocsvm-nystroem": ({**INPUT, "nu": 0.5, "components": 300}, {}, {"ocsvm-nystroem-packets": PACKETS}),
    "kitsune": ({**KITNET, "reduction": "max"}, {}, {}),
    "kitnet-flow": ({**KITNET, **INPUT}, {}, {}),
    "ae": (AUTOENCODER, AUTOENCODER_PROFILES, {"ae-packets": PACKETS}),
    "memae": (
        {**AUTOENCODER, "items": 100, "shrink": 1.0, "entropy": 2e-4},
        AUTOENCODER_PROFILES,
        {"memae-packets": PACKETS},
    ),
    "sparse-memae": ({**AUTOENCODER, "items": 100, "k": 3}, AUTOENCODER_PROFILES, {"sparse-memae-packets": PACKETS}),
    "mahalanobis": (INPUT, {}, {}),
    "knn": ({**INPUT, "k": 5}, {}, {}),
    "pca": ({**INPUT, "variance": 0.9}, {}, {}),
    "gmm": ({**INPUT, "components": 10, "regularisation": 1e-3}, {"check": {"components": 3}}, {}),
    "ecod": (INPUT, {}, {}),
    "tccm": (
        {**INPUT, **ADAM, "batch": 64},
        {"quick": {}, "paper": {}, "check": {"epochs": 5}},
        {"tccm-packets": PACKETS},
    ),
    "rfm": ({**INPUT, **ADAM, "steps": 10}, {"quick": {"epochs": 50}, "check": {"epochs": 5, "steps": 5}}, {}),
    "whisper": (
        {"centres": 10, "drawn": 50, "learned": 50, "judged": 100, "shortest": 4},
        {"quick": {}, "paper": {"shortest": 100}, "check": {}},
        {},
    ),
    "dte": (
        {**INPUT, "times": 400, "bins": 7, "as_released": False}
        | {"epochs": 400, "batch": 64, "lr": 1e-4, "weight_decay": 5e-4},
        {"quick": {"epochs": 100}, "paper": {}, "check": {"epochs": 5}},
        {"dte-packets": PACKETS},
    ),
    "clan": (
        {**INPUT, "width": 1024, "depth": 4, "code": 64, "replaced": 0.1, "margin": 0.5}
        | {"epochs": 200, "batch": 8192, "lr": 1e-4},
        {
            "quick": {"width": 256, "depth": 3, "epochs": 50, "batch": 1024, "lr": 1e-3},
            "paper": {},
            "check": {"width": 64, "depth": 2, "epochs": 10, "batch": 64, "lr": 1e-3},
        },
        {},
    ),
    "nf-iaf": (
        {**INPUT, "blocks": 5, "hidden": 128, **ADAM, "patience": 10},
        {"quick": {"epochs": 50}, "paper": {}, "check": {"epochs": 3, "blocks": 2, "hidden": 32}},
        {},
    ),
    "anomaly-transformer": (
        {"width": 128, "layers": 3, "heads": 8, "k": 3.0, "weighted": True}
        | {"epochs": 10, "batch": 128, "lr": 1e-4, "halving": True},
        {
            "quick": {"width": 64, "layers": 2, "lr": 1e-3, "halving": False, "epochs": 5},
            "paper": {"width": 512},
            "check": {"width": 16, "layers": 2, "heads": 2, "lr": 3e-3, "halving": False, "epochs": 3, "batch": 32},
        },
        {"anomaly-transformer-rec": {"weighted": False}},
    ),
    "contrastive": (
        {"packets": 32, "win": False, "width": 256, "layers": 4, "heads": 4, "share": 0.4, "temperature": 0.5}
        | {"epochs": 1, "batch": 128, "lr": 5e-5},
        {
            "quick": {"width": 64, "layers": 2, "epochs": 5, "lr": 5e-4},
            "paper": {},
            "check": {"width": 16, "layers": 1, "heads": 2, "epochs": 2, "batch": 32, "lr": 1e-3},
        },
        {},
    ),
    "tslanet": (
        {"width": 128, "depth": 2, "masked": 0.4, "leak_free": True}
        | {"epochs": 60, "batch": 128, "lr": 1e-3, "weight_decay": 1e-4},
        {
            "quick": {"width": 64, "epochs": 15},
            "paper": {},
            "check": {"width": 16, "epochs": 4, "batch": 32, "lr": 3e-3},
        },
        {},
    ),
    "graphids": (
        {"window": 512, "edge": 64, "width": 32, "heads": 4, "feed": 2048, "dropout": 0.5, "hidden": 0.15}
        | {"target": "detached", "epochs": 100, "batch": 1, "lr": 1e-4}
        | {"host_decay": 0.6, "weight_decay": 0.01, "patience": 20},
        {
            "quick": {"epochs": 20, "lr": 1e-3, "feed": 256},
            "paper": {},
            "check": {"window": 32, "edge": 8, "width": 8, "heads": 2, "feed": 16, "epochs": 3, "lr": 1e-3},
        },
        {},
    ),
    "tipso-gan-unsupervised": (
        {**INPUT, "swarm": 8, "iterations": 5, "trial": 3, "epochs": 50, "batch": 64, "lr": 2e-4},
        {
            "quick": {"swarm": 4, "iterations": 3, "trial": 1, "epochs": 30},
            "paper": {},
            "check": {"swarm": 2, "iterations": 2, "trial": 1, "epochs": 8, "lr": 1e-3},
        },
        {},
    ),
    "stfpm": (
        {**STUDENT, "lr": 0.1},
        {"quick": {"teacher_epochs": 10, "epochs": 20}, "paper": {}, "check": STUDENT_CHECK},
        {"stfpm-random": RANDOM},
    ),
    "rd4ad": (
        {**STUDENT, "patience": 10},
        {"quick": {"teacher_epochs": 10, "epochs": 20}, "paper": {}, "check": STUDENT_CHECK},
        {"rd4ad-random": RANDOM},
    ),
    "mmr": (
        {**STUDENT, "epochs": 60, "tokens": 128, "layers": 4, "hide": 0.4},
        {
            "quick": {"teacher_epochs": 10, "epochs": 15, "tokens": 64, "layers": 2},
            "paper": {},
            "check": {**STUDENT_CHECK, "epochs": 4, "batch": 64, "lr": 1e-2, "tokens": 8, "layers": 1},
        },
        {"mmr-random": RANDOM},
    ),
    "conmd": (
        {**TEACHER, **ADAM, "epochs": 50, "patience": 10, "packets": 9, "tokens": 32, "layers": 4},
        {
            "quick": {"teacher_epochs": 10, "epochs": 15},
            "paper": {},
            "check": {**STUDENT_CHECK, "packets": 4, "tokens": 4, "layers": 2},
        },
        {"conmd-random": RANDOM},
    ),
    "ssl-knn": (
        {**TEACHER, "components": 64, "k": 5},
        {"quick": {"teacher_epochs": 10}, "paper": {}, "check": {"teacher_epochs": 1, "width": 8}},
        {"ssl-knn-random": RANDOM},
    ),
    "ganomaly": (GANOMALY, TRIO_PROFILES, {}),
    "mfad": ({**GANOMALY, "batch": 128, "lr": 1e-4, "contextual": 60.0}, TRIO_PROFILES, {}),
    "undiff": (
        {"width": 32, "code": 128, "epochs": 100, "batch": 128, "lr": 5e-5},
        {**TRIO_PROFILES, "quick": {"epochs": 60}, "check": {**TRIO_CHECK, "epochs": 3}},
        {},
    ),
    "arcade": (
        {"packets": 64, "code": 50, "epochs": 100, "batch": 128, "lr": 1e-4, "adversarial": 0.01},
        {
            "quick": {"epochs": 30, "lr": 1e-3},
            "paper": {},
            "check": {"epochs": 5, "batch": 32, "lr": 2e-3, "packets": 16},
        },
        {"arcade-2": {"packets": 2}},
    ),
    "shafir": (
        {"features": "released", "second": "", "latent": "normal", "optimiser": "sgd", "select": "none", "keep": 5}
        | {"epochs": 100, "lr": 1e-3, "batch": 1024, "bins": 16},
        {"quick": {}, "paper": {}, "check": {"epochs": 3, "bins": 4}},
        {
            "shafir-beta": {"latent": "beta"},
            "shafir-adam": {"optimiser": "adam"},
            "shafir-flow": {"features": "flow"},
            "shafir-ensemble": {"second": "published"},
            "shafir-selected": {"features": "flow", "select": "benign"},
            "shafir-few-shot": {"features": "flow", "select": "few_shot"},
            "shafir-transductive": {"features": "flow", "select": "transductive"},
        },
    ),
}
"""Defaults, profiles and presets, as they stand in the documentation of the runs: a change here changes what every
stored run means."""


@pytest.mark.parametrize("name", DECLARED)
def test_defaults_profiles_and_presets_are_pinned(name):
    loaded = plugins.load_detector(name)
    assert (
        asdict(loaded.params_type()),
        dict(loaded.profiles),
        dict(getattr(loaded.factory, "presets", {})),
    ) == DECLARED[name]


def test_every_built_in_detector_with_parameters_is_pinned_here_or_beside_its_own_tests():
    built_in = [name for name, entry in plugins.detector_entries().items() if entry.dist.name == "janus-bench"]
    assert {name for name in built_in if plugins.load_detector(name).params_type is not None} - {
        "janus",
        "janus-context",
        "janus-plus",
    } == set(DECLARED)


def test_a_fit_saved_before_a_parameter_was_added_is_loaded_with_its_default(tmp_path):
    @dataclass(frozen=True)
    class Params:
        k: int = 5
        added: str = "as before"

    (tmp_path / "toy.json").write_text('{"k": 7}')
    save_file({"rows": np.arange(3.0)}, tmp_path / "toy.safetensors")
    assert load_arrays(tmp_path, "toy", Params(k=7))["rows"].tolist() == [0, 1, 2]
    for other in (Params(k=5), Params(k=7, added="new")):
        with pytest.raises(DataError, match=r"toy\.json: saved with .* asked for"):
            load_arrays(tmp_path, "toy", other)
