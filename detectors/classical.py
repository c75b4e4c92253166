"""scikit-learn's one-class detectors, on the 20 flow features or on the flattened packets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.contract import FLOW_FEATURES, Capabilities, DataError, FitContext, FlowBatch, PluginError, UsageError

__all__ = ["IsolationForest", "IsolationForestParams", "OneClassSVM", "OneClassSVMParams"]

_SCORE_BLOCK = 2048  # rows of a kernel block: 2048 × 5000 support vectors are 80 MB


def _features(flows: FlowBatch) -> NDArray[np.float64]:
    return flows.feature_matrix(FLOW_FEATURES)  # (n, 20)


def _packets(flows: FlowBatch) -> NDArray[np.float64]:
    dense, _ = flows.padded()  # (n, 64, 9) float32
    return dense.reshape(len(flows), -1).astype(np.float64)  # (n, 576)


_INPUTS: Mapping[str, Callable[[FlowBatch], NDArray[np.float64]]] = {"features": _features, "packets": _packets}


def _require(holds: bool, detector: str, name: str, expected: str, value: object) -> None:
    if not holds:
        raise UsageError(f"{detector}: {name} must be {expected}, not {value!r}")


@dataclass(frozen=True)
class IsolationForestParams:
    """Parameters of ``iforest``; defaults are scikit-learn's.

    input         ``features``: the 20 flow features; ``packets``: the padded packets, flattened to 64 × 9 = 576 columns
    n_estimators  trees
    max_samples   flows that each tree sees; all of them where there are fewer
    """

    input: str = "features"
    n_estimators: int = 100
    max_samples: int = 256

    def __post_init__(self) -> None:
        _require(self.input in _INPUTS, "iforest", "input", "features or packets", self.input)
        _require(isinstance(self.n_estimators, int) and self.n_estimators >= 1, "iforest", "n_estimators", "an integer ≥ 1", self.n_estimators)
        _require(isinstance(self.max_samples, int) and self.max_samples >= 2, "iforest", "max_samples", "an integer ≥ 2", self.max_samples)


class IsolationForest:
    """Score = −``sklearn.ensemble.IsolationForest.score_samples``, in (0, 1], (n,) float64 (Liu, Ting, Zhou, ICDM 2008).

    Declares both inputs because ``Params.input`` chooses.  It has no ``save``: scikit-learn's trees can only be stored as a pickle, which runs code
    when it is opened.
    """

    Params = IsolationForestParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"features", "packets"}),
        provenance="faithful",
        source="scikit-learn's IsolationForest (Liu, Ting, Zhou, ICDM 2008)",
    )

    def __init__(self, params: IsolationForestParams | None = None) -> None:
        self.params = params or IsolationForestParams()
        self._forest: Any = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Grow the forest; its random state is the run's seed."""
        from sklearn.ensemble import IsolationForest as Forest

        samples = min(self.params.max_samples, len(benign))
        self._forest = Forest(n_estimators=self.params.n_estimators, max_samples=samples, random_state=ctx.seed)
        self._forest.fit(_INPUTS[self.params.input](benign))

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """Anomaly score of the paper's equation 2, (n,)."""
        if self._forest is None:
            raise PluginError("iforest: score() before fit()")
        return -self._forest.score_samples(_INPUTS[self.params.input](flows))


@dataclass(frozen=True)
class OneClassSVMParams:
    """Parameters of ``ocsvm``; defaults are scikit-learn's.

    input  ``features``: the 20 flow features; ``packets``: the padded packets, flattened to 64 × 9 = 576 columns
    nu     bound on the share of training flows outside, and on the share of support vectors from below; in (0, 1]
    """

    input: str = "features"
    nu: float = 0.5

    def __post_init__(self) -> None:
        _require(self.input in _INPUTS, "ocsvm", "input", "features or packets", self.input)
        _require(isinstance(self.nu, int | float) and 0 < self.nu <= 1, "ocsvm", "nu", "a number in (0, 1]", self.nu)


@dataclass(frozen=True)
class _Machine:
    """What the decision function needs: standardisation, and S support vectors in standardised units."""

    mean: NDArray[np.float64]  # (D,)
    scale: NDArray[np.float64]  # (D,)
    vectors: NDArray[np.float64]  # (S, D)
    duals: NDArray[np.float64]  # (S,)
    gamma: NDArray[np.float64]  # ()

    def similarity(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Σ_s α_s exp(−γ‖x − v_s‖²) for raw rows x (b, D), (b,): one matrix product instead of libsvm's loop over pairs."""
        rows = (columns - self.mean) / self.scale  # (b, D)
        kernel = rows @ self.vectors.T  # (b, S)
        kernel *= 2
        kernel -= np.einsum("bd,bd->b", rows, rows)[:, None]
        kernel -= np.einsum("sd,sd->s", self.vectors, self.vectors)  # −‖x − v‖²
        np.minimum(kernel, 0, out=kernel)  # rounding
        kernel *= self.gamma
        np.exp(kernel, out=kernel)
        return kernel @ self.duals


class OneClassSVM:
    """Score = −Σ_s α_s k(x, v_s), (n,) float64: −``sklearn.svm.OneClassSVM.score_samples``, RBF kernel (Schölkopf et al., 2001).

    Inputs are standardised on the training flows; γ = 1 / (D · variance), scikit-learn's ``scale``.  A flow far from every support vector scores 0,
    the maximum, so very distant flows tie.  Declares both inputs because ``Params.input`` chooses.
    """

    Params = OneClassSVMParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"features", "packets"}),
        provenance="faithful",
        source="scikit-learn's OneClassSVM (Schölkopf et al., Neural Computation 13, 2001)",
    )

    def __init__(self, params: OneClassSVMParams | None = None) -> None:
        self.params = params or OneClassSVMParams()
        self._machine: _Machine | None = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Exact libsvm fit; time grows with the square of the flows."""
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import OneClassSVM as Machine

        scaler = StandardScaler()
        rows = scaler.fit_transform(_INPUTS[self.params.input](benign))  # (n, D)
        machine = Machine(kernel="rbf", gamma="scale", nu=self.params.nu)
        machine.random_state = ctx.seed  # else scikit-learn draws from the global generator for libsvm, which has no use for it here
        machine.fit(rows)
        variance = rows.var()
        gamma = 1.0 / (rows.shape[1] * variance) if variance > 0 else 1.0  # scikit-learn's own rule, not exposed by it
        self._machine = _Machine(scaler.mean_, scaler.scale_, machine.support_vectors_, machine.dual_coef_[0], np.array(gamma))

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """Negated similarity to the training flows, (n,)."""
        if self._machine is None:
            raise PluginError("ocsvm: score() before fit()")
        scores = np.empty(len(flows))
        for start in range(0, len(flows), _SCORE_BLOCK):
            block = slice(start, start + _SCORE_BLOCK)
            scores[block] = -self._machine.similarity(_INPUTS[self.params.input](flows.take(block)))
        return scores

    def save(self, folder: Path) -> None:
        """``ocsvm.safetensors`` (standardisation, support vectors, duals) and ``ocsvm.json`` (parameters) in ``folder``."""
        from safetensors.numpy import save_file

        if self._machine is None:
            raise PluginError("ocsvm: save() before fit()")
        save_file({name: np.ascontiguousarray(value) for name, value in vars(self._machine).items()}, folder / "ocsvm.safetensors")
        (folder / "ocsvm.json").write_text(json.dumps(asdict(self.params), indent=1))

    @classmethod
    def load(cls, folder: Path, params: OneClassSVMParams | None = None) -> OneClassSVM:
        """The detector that ``save`` wrote; DataError if the folder holds another parameter set."""
        from safetensors.numpy import load_file

        detector = cls(params)
        saved = json.loads((folder / "ocsvm.json").read_text())
        if saved != asdict(detector.params):
            raise DataError(f"{folder / 'ocsvm.json'}: saved with {saved}, asked for {asdict(detector.params)}; load it with its own parameters")
        detector._machine = _Machine(**load_file(folder / "ocsvm.safetensors"))
        return detector
