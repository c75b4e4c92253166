"""The baselines against independent libraries on the same partitions: AUROC of every cell of a finished cross run,
theirs beside ours.

    janus-bench run --protocol cross --detectors iforest,ocsvm,ae,shafir-beta --seeds 42 --runs RUNS
    python -m benchmarks.independent RUNS [--pzflow PYTHON]

iforest and ocsvm: PyOD's wrappers (IForest, OCSVM); ae: scikit-learn's MLPRegressor of the same shape; shafir-beta:
pzflow, the library that the authors' script uses, in an interpreter of its own (``python -m venv pz && pz/bin/pip
install pzflow``).  Exit code 1 if a difference of the means exceeds .03.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pyod.models.iforest import IForest
from pyod.models.ocsvm import OCSVM
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from datasets_registry.registry import OpenDataset, draw_of, load_datasets
from detectors.shafir.features import FEATURE_SETS
from detectors.shared.inputs import ZScores
from janus_bench.columns import FLOW_FEATURES
from janus_bench.records import Recorded, RunSpec
from reports.results.folder import RunStore

Matrix = np.ndarray
Fit = Callable[[Matrix, int], Callable[[Matrix], Matrix]]

TOLERANCE = 0.03
PZFLOW = """
import sys
import numpy as np, optax, pandas as pd
from pzflow import Flow
data = np.load(sys.argv[1])
low, high = data["train"].min(axis=0), data["train"].max(axis=0)
half = np.where(high > low, (high - low) / 2, 1.0)
def frame(rows):
    return pd.DataFrame(4 * (rows - (low + high) / 2) / half, columns=[f"x{i}" for i in range(rows.shape[1])])
flow = Flow(data_columns=list(frame(data["train"]).columns), seed=int(sys.argv[2]))
flow.train(frame(data["train"]), epochs=100, batch_size=1024, optimizer=optax.sgd(1e-3), best_params=False,
           seed=int(sys.argv[2]))
scores = {}
for name in data.files:
    if name != "train":
        # the original has no density at all outside its bound: -inf, here the largest finite value
        scores[name] = np.nan_to_num(-np.asarray(flow.log_prob(frame(data[name]))), nan=3e38, posinf=3e38)
np.savez(sys.argv[3], **scores)
"""


def pyod(make: Callable[[int], Any]) -> Fit:
    """A PyOD model made from a seed, on standardised columns."""

    def fit(train: Matrix, seed: int) -> Callable[[Matrix], Matrix]:
        scaler, model = StandardScaler().fit(train), make(seed)
        model.fit(scaler.transform(train))
        return lambda rows: model.decision_function(scaler.transform(rows))

    return fit


def autoencoder(train: Matrix, seed: int) -> Callable[[Matrix], Matrix]:
    """Of the shape and training of ``ae``, by scikit-learn; its rows are prepared as ours: what is compared is the
    model."""
    scaler = ZScores.fitted(train)
    shape = {
        "hidden_layer_sizes": (128, 64, 8, 64, 128),
        "activation": "tanh",
        "batch_size": 128,
        "max_iter": 50,
        "n_iter_no_change": 50,
    }
    rows = scaler(train, 10.0)
    model = MLPRegressor(**shape, random_state=seed).fit(rows, rows)

    def score(columns: Matrix) -> Matrix:
        prepared = scaler(columns, 10.0)
        return np.square(model.predict(prepared) - prepared).mean(axis=1)

    return score


LIBRARIES: Mapping[str, tuple[tuple[str, ...], Fit]] = {
    "iforest": (FLOW_FEATURES, pyod(lambda seed: IForest(random_state=seed))),
    "ocsvm": (FLOW_FEATURES, pyod(lambda _: OCSVM())),
    "ae": (FLOW_FEATURES, autoencoder),
}


def cells(store: RunStore, detector: str, params: Mapping[str, Any]) -> Iterator[Recorded]:
    """Finished transfer runs of a detector with these parameters."""
    for record in store.records().values():
        spec = record.spec
        same = spec["detector"] == detector and all(spec["params"].get(key) == value for key, value in params.items())
        if same and spec["regime"] == "transfer" and record.status == "ok":
            yield record


def rows_of(dataset: OpenDataset, flow_ids: Any, names: tuple[str, ...]) -> Matrix:
    inputs = frozenset({"features" if names[0] in FLOW_FEATURES else "cic_features"})
    return dataset.store.take(flow_ids, np.zeros(len(flow_ids), dtype=np.uint64), inputs).feature_matrix(names)


def by_pzflow(python: str) -> Callable[[Matrix, Mapping[str, Matrix], int], dict[str, Matrix]]:
    def scores(train: Matrix, tests: Mapping[str, Matrix], seed: int) -> dict[str, Matrix]:
        with tempfile.TemporaryDirectory() as folder:
            given, made = Path(folder) / "rows.npz", Path(folder) / "scores.npz"
            np.savez(given, allow_pickle=False, train=train, **tests)
            subprocess.run([python, "-c", PZFLOW, given, str(seed), made], check=True)
            return dict(np.load(made))

    return scores


def by_library(fit: Fit) -> Callable[[Matrix, Mapping[str, Matrix], int], dict[str, Matrix]]:
    def scores(train: Matrix, tests: Mapping[str, Matrix], seed: int) -> dict[str, Matrix]:
        score = fit(train, seed)
        return {name: score(rows) for name, rows in tests.items()}

    return scores


def compare(
    name: str,
    records: list[Recorded],
    datasets: Mapping[str, OpenDataset],
    names: tuple[str, ...],
    library: Callable[..., dict[str, Matrix]],
) -> float:
    """Print both AUROCs of every cell; the difference of their means."""
    ours: list[float] = []
    theirs: list[float] = []
    for source, seed in sorted({(record.spec["source"], record.spec["seed"]) for record in records}):
        mine = [record for record in records if (record.spec["source"], record.spec["seed"]) == (source, seed)]
        train = rows_of(datasets[source], datasets[source].partition(draw_of_record(mine[0])).parts["train"], names)
        partitions = {
            record.spec["target"]: datasets[record.spec["target"]].partition(draw_of_record(record)) for record in mine
        }
        scores = library(
            train,
            {target: rows_of(datasets[target], partition.test, names) for target, partition in partitions.items()},
            seed,
        )
        for record in mine:
            target = record.spec["target"]
            attack = datasets[target].index.attack[partitions[target].test]
            auroc = record.metrics["auroc"]
            assert auroc is not None  # every cell has attacks
            ours.append(auroc)
            theirs.append(float(roc_auc_score(attack, scores[target])))
            print(f"{name:12} {source} → {target}, seed {seed}: ours {ours[-1]:.3f}, library {theirs[-1]:.3f}")
    difference = statistics.fmean(ours) - statistics.fmean(theirs)
    middle = statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
    means = f"ours {statistics.fmean(ours):.3f}, library {statistics.fmean(theirs):.3f}, {difference:+.3f}"
    print(f"{name:12} mean of {len(ours)} cells: {means}; median difference of a cell {middle:+.3f}")
    return difference


def draw_of_record(record: Recorded) -> Any:
    return draw_of(RunSpec(**record.spec))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path)
    parser.add_argument("--pzflow", help="an interpreter that has pzflow")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # fifty epochs are what is asked for
    store = RunStore.open(arguments.runs)
    wanted: dict[str, tuple[str, dict[str, Any], tuple[str, ...], Any]] = {
        name: (name, {}, names, by_library(fit)) for name, (names, fit) in LIBRARIES.items()
    }
    if arguments.pzflow:
        wanted["shafir-beta"] = ("shafir", {"latent": "beta"}, FEATURE_SETS["released"], by_pzflow(arguments.pzflow))
    else:
        print("pzflow: missing (python -m venv pz && pz/bin/pip install pzflow, then --pzflow pz/bin/python)")
    differences = []
    for name, (detector, params, names, library) in wanted.items():
        records = list(cells(store, detector, params))
        if not records:
            print(f"{name}: no finished runs in {arguments.runs}")
            continue
        datasets = load_datasets(
            sorted({record.spec[end] for record in records for end in ("source", "target")}), lambda *_: None
        )
        differences.append(compare(name, records, datasets, names, library))
    return 0 if differences and max(map(abs, differences)) <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
