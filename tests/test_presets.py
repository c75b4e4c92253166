"""Every preset of the built-in detectors keeps the contract under its own parameters, and every built-in detector is on the list."""

from __future__ import annotations

import pytest

from janus_bench import plugins
from janus_bench.conformance import check_detector
from janus_bench.params import build_params

PRESETS = sorted(plugins.presets())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_keeps_the_contract(name):
    loaded = plugins.load_detector(name)
    profile = loaded.profiles.get("check", loaded.profiles.get("quick", {}))
    params = build_params(loaded.name, loaded.params_type, profile, loaded.preset)
    results = check_detector(loaded.factory, params)
    assert [result for result in results if result.status == "failed"] == []
    assert sum(result.status == "passed" for result in results) >= 15


def test_presets_of_inputs_read_that_input_alone():
    for name in PRESETS:
        if name.endswith("-packets"):
            loaded = plugins.load_detector(name)
            assert loaded.declaring(build_params(loaded.name, loaded.params_type, loaded.preset)).capabilities.inputs == {"packets"}
    assert {"ae-packets", "iforest-packets", "memae-packets", "ocsvm-packets", "sparse-memae-packets", "tccm-packets"} <= set(PRESETS)
