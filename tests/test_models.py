"""Models as folders: what is loaded scores as what was saved, and nothing that a stranger put there is followed or
believed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from harness.models import about_model, detector_of
from janus_bench.conformance.flows import mixed_flows, synthetic_benign, with_cic_features, with_context, with_stream
from janus_bench.errors import DataError, JanusBenchError, PluginError
from janus_bench.models import open_model, write_model
from janus_bench.params import build_params
from janus_bench.plugins import detector_entries, load_detector, presets
from tests.factories import context

SHIPPED = sorted({*detector_entries(), *presets()})
CHILD = """
import json, sys
from pathlib import Path
import numpy as np
from janus_bench.conformance.flows import mixed_flows, with_cic_features, with_context, with_stream
from janus_bench.contract import validate_scores
from janus_bench.plugins import load_detector
folder, flows = Path(sys.argv[1]), with_stream(with_context(with_cic_features(mixed_flows())))
for place in sorted(folder.iterdir()):
    loaded = load_detector(place.name)
    given = json.loads((place / "given.json").read_text())
    params = None if loaded.params_type is None else loaded.params_type(**given)
    detector = loaded.restore(place / "saved", params)
    columns = loaded.declaring(params).capabilities.scores
    np.savez(place / "scores.npz", **validate_scores(detector.score(flows), len(flows), columns))
"""


def test_every_shipped_detector_and_preset_scores_in_another_process_as_it_did(tmp_path, one_thread):
    """To the last bit, where the same threads do the same sums."""
    benign, flows = (
        with_stream(with_context(with_cic_features(some))) for some in (synthetic_benign(0, 60), mixed_flows())
    )
    expected = {}
    for name in SHIPPED:
        loaded = load_detector(name)
        profile = loaded.profiles.get("check", loaded.profiles.get("quick", {}))
        params = build_params(loaded.name, loaded.params_type, profile, loaded.preset)
        detector = loaded.declaring(params).create(params)
        detector.fit(benign, context(benign.take(slice(0, 20)), hints=benign.take(slice(20, 40))))
        if loaded.capabilities.calibrates:
            detector.calibrate(benign.take(slice(30, 60)))
        folder = tmp_path / "models" / name
        (folder / "saved").mkdir(parents=True)
        (folder / "given.json").write_text(json.dumps({} if params is None else asdict(params)))
        detector.save(folder / "saved")
        raw = detector.score(flows)
        expected[name] = raw if isinstance(raw, dict) else {"score": raw}
    environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
    subprocess.run([sys.executable, "-c", CHILD, tmp_path / "models"], check=True, env=environment)
    for name, scores in expected.items():
        found = np.load(tmp_path / "models" / name / "scores.npz")
        assert set(found) == set(scores), name
        for column, values in scores.items():
            np.testing.assert_array_equal(found[column], values, err_msg=f"{name} {column}")


def test_an_isolation_forest_scores_as_scikit_learns_to_the_last_bit():
    from sklearn.ensemble import IsolationForest

    benign, flows = synthetic_benign(1, 400), mixed_flows()
    for n in (400, 2, 1):
        loaded = load_detector("iforest")
        detector = loaded.create(loaded.params_type(n_estimators=20))
        detector.fit(benign.take(slice(0, n)), context(seed=7))
        rows = benign.take(slice(0, n)).feature_matrix()
        forest = IsolationForest(n_estimators=20, max_samples=min(256, n), random_state=7).fit(rows)
        assert np.array_equal(detector.score(flows), -forest.score_samples(flows.feature_matrix()))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of the detector ``random``, with a calibration of three flows."""
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "random.json").write_text('{"seed": 3}')
    loaded = load_detector("random")
    about = about_model(loaded.capabilities, "random", "1", {}, 3, {}, [])
    assert write_model(tmp_path / "model", saved, about, {"scores": np.arange(3.0)})
    return tmp_path / "model"


def changed(model: Path, **fields: object) -> None:
    path = model / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_model_is_read_back_and_a_place_that_is_taken_is_left_alone(model, tmp_path):
    found = open_model(model)
    assert np.array_equal(found.array("scores"), np.arange(3.0))
    found.copy_detector(tmp_path / "copy")
    assert (tmp_path / "copy" / "random.json").read_text() == '{"seed": 3}'
    assert detector_of(found).name == "random"
    before = (model / "model.json").read_text()
    assert not write_model(model, tmp_path / "saved", found.manifest)
    assert (model / "model.json").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "model", "saved"]


def altered(model: Path) -> None:
    (model / "detector" / "random.json").write_text('{"seed": 4}')


def truncated(model: Path) -> None:
    path = model / "calibration" / "scores.npy"
    path.write_bytes(path.read_bytes()[:-8])


def linked(model: Path) -> None:
    path = model / "detector" / "random.json"
    path.rename(model.parent / "elsewhere")
    path.symlink_to(model.parent / "elsewhere")


def linked_folder(model: Path) -> None:
    (model / "detector").rename(model.parent / "elsewhere")
    (model / "detector").symlink_to(model.parent / "elsewhere")


def pointing_out(model: Path) -> None:
    files = json.loads((model / "model.json").read_text())["files"]
    changed(model, files={**files, "../saved/random.json": next(iter(files.values()))})


def fifo(model: Path) -> None:
    (model / "detector" / "random.json").unlink()
    os.mkfifo(model / "detector" / "random.json")


DAMAGES = [
    (altered, DataError, "detector/random.json is not what was written"),
    (truncated, DataError, "calibration/scores.npy is not what was written"),
    (linked, DataError, "detector/random.json is reached by a link"),
    (linked_folder, DataError, "detector/random.json is reached by a link"),
    (pointing_out, DataError, "'../saved/random.json', which is not below it"),
    (fifo, DataError, "random.json is not a regular file"),
    (lambda model: (model / "detector" / "random.json").unlink(), DataError, "random.json: No such file"),
    (lambda model: (model / "model.json").unlink(), DataError, "not a model"),
    (lambda model: (model / "model.json").write_text("{"), DataError, "damaged (it is not JSON"),
    (lambda model: changed(model, model_version=9), DataError, "a model of version 9, this program reads 1"),
    (lambda model: changed(model, params={"x": 1}), DataError, "model.json is not what was written"),
    (lambda model: changed(model, detector=None), DataError, "detector is null"),
]


@pytest.mark.parametrize(("damage", "kind", "said"), DAMAGES)
def test_a_model_that_is_not_as_it_was_written_is_one_line(model, damage, kind, said):
    damage(model)
    with pytest.raises(kind) as caught:
        open_model(model)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_what_is_damaged_between_the_look_and_the_use_is_noticed(model, tmp_path):
    found = open_model(model)
    altered(model)
    with pytest.raises(DataError, match="not what was written"):
        found.copy_detector(tmp_path / "copy")


@pytest.mark.parametrize(
    ("about", "kind", "said"),
    [
        ({"detector": "no-such"}, PluginError, "needs the detector 'no-such', which is not installed"),
        ({"version": "0"}, DataError, "made with version 0 of random, installed is 1: fit it again"),
        ({"versions": {"extraction": "1"}}, DataError, "made with extraction 1"),
        ({"scores": ["a", "b"]}, DataError, "made with score columns"),
        ({"params": {"gone": 1}}, DataError, "another version of random"),
    ],
)
def test_a_model_of_another_installation_is_one_line(model, tmp_path, about, kind, said):
    found = open_model(model)
    write_model(tmp_path / "other", tmp_path / "saved", {**found.manifest, **about})
    with pytest.raises(JanusBenchError) as caught:
        detector_of(open_model(tmp_path / "other"))
    assert isinstance(caught.value, kind)
    assert said in str(caught.value)
