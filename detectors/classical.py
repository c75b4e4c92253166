"""scikit-learn's one-class detectors, on the 20 flow features or on the flattened packets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.checking import require, require_choice, require_integer
from detectors.shared.saving import load_arrays, save_arrays
from janus_bench.columns import FLOW_FEATURES
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import PluginError

__all__ = [
    "IsolationForest",
    "IsolationForestParams",
    "NystroemSVM",
    "NystroemSVMParams",
    "OneClassSVM",
    "OneClassSVMParams",
]

_SCORE_BLOCK = 2048  # rows of a kernel block: 2048 × 5000 support vectors are 80 MB


def _features(flows: FlowBatch) -> NDArray[np.float64]:
    return flows.feature_matrix(FLOW_FEATURES)  # (n, 20)


def _packets(flows: FlowBatch) -> NDArray[np.float64]:
    dense, _ = flows.padded()  # (n, 64, 9) float32
    return dense.reshape(len(flows), -1).astype(np.float64)  # (n, 576)


_INPUTS: Mapping[str, Callable[[FlowBatch], NDArray[np.float64]]] = {"features": _features, "packets": _packets}


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
        require_choice("iforest", "input", self.input, _INPUTS)
        require_integer("iforest", "n_estimators", self.n_estimators)
        require_integer("iforest", "max_samples", self.max_samples, least=2)


class IsolationForest:
    """Score = −``sklearn.ensemble.IsolationForest.score_samples``, in (0, 1], (n,) float64 (Liu, Ting, Zhou, ICDM 2008).

    It has no ``save``: scikit-learn's trees can only be stored as a pickle, which runs code when it is opened.
    """

    Params = IsolationForestParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"features"}),
        provenance="faithful",
        source="scikit-learn's IsolationForest (Liu, Ting, Zhou, ICDM 2008)",
    )

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"iforest-packets": {"input": "packets"}}

    @classmethod
    def declare(cls, params: IsolationForestParams) -> Capabilities:
        return replace(cls.capabilities, inputs=frozenset({params.input}))

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
        require_choice("ocsvm", "input", self.input, _INPUTS)
        require(isinstance(self.nu, int | float) and 0 < self.nu <= 1, "ocsvm", "nu", "a number in (0, 1]", self.nu)


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


def _gamma(rows: NDArray[np.float64]) -> float:
    """scikit-learn's ``gamma="scale"`` for rows (n, D), which it does not expose."""
    variance = float(rows.var())
    return 1.0 / (rows.shape[1] * variance) if variance > 0 else 1.0


def _scored(machine: _Machine, flows: FlowBatch, name: str) -> NDArray[np.float64]:
    scores = np.empty(len(flows))
    for start in range(0, len(flows), _SCORE_BLOCK):
        block = slice(start, start + _SCORE_BLOCK)
        scores[block] = -machine.similarity(_INPUTS[name](flows.take(block)))
    return scores


class OneClassSVM:
    """Score = −Σ_s α_s k(x, v_s), (n,) float64: −``sklearn.svm.OneClassSVM.score_samples``, RBF kernel (Schölkopf et al., 2001).

    Inputs are standardised on the training flows; γ = 1 / (D · variance), scikit-learn's ``scale``.  A flow far from every support vector scores 0,
    the maximum, so very distant flows tie.
    """

    Params = OneClassSVMParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"features"}),
        provenance="faithful",
        source="scikit-learn's OneClassSVM (Schölkopf et al., Neural Computation 13, 2001)",
    )

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"ocsvm-packets": {"input": "packets"}}

    @classmethod
    def declare(cls, params: OneClassSVMParams) -> Capabilities:
        return replace(cls.capabilities, inputs=frozenset({params.input}))

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
        self._machine = _Machine(scaler.mean_, scaler.scale_, machine.support_vectors_, machine.dual_coef_[0], np.array(_gamma(rows)))

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """Negated similarity to the training flows, (n,)."""
        if self._machine is None:
            raise PluginError("ocsvm: score() before fit()")
        return _scored(self._machine, flows, self.params.input)

    def save(self, folder: Path) -> None:
        """``ocsvm.safetensors`` (standardisation, support vectors, duals) and ``ocsvm.json`` (parameters) in ``folder``."""
        if self._machine is None:
            raise PluginError("ocsvm: save() before fit()")
        save_arrays(folder, "ocsvm", self.params, vars(self._machine))

    @classmethod
    def load(cls, folder: Path, params: OneClassSVMParams | None = None) -> OneClassSVM:
        """The detector that ``save`` wrote; DataError if the folder holds another parameter set."""
        detector = cls(params)
        detector._machine = _Machine(**load_arrays(folder, "ocsvm", detector.params))
        return detector


@dataclass(frozen=True)
class NystroemSVMParams(OneClassSVMParams):
    """Parameters of ``ocsvm-nystroem``: those of ``ocsvm`` and

    components  training flows that the kernel is approximated with; all of them where there are fewer
    """

    components: int = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("ocsvm-nystroem", "components", self.components)


class NystroemSVM:
    """Score = −w·φ(x), (n,) float64: a linear one-class SVM by stochastic gradient descent on Nyström features of the RBF kernel.

    φ(x) = K(x, landmarks) K(landmarks, landmarks)^(−½) (Williams, Seeger, NeurIPS 2001): scikit-learn's ``Nystroem`` and ``SGDOneClassSVM``, after
    the same standardisation and with the same γ as ``ocsvm``.  Fitting is linear in the flows and scoring does not grow with them.
    """

    Params = NystroemSVMParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"features"}),
        provenance="adapted",
        source="scikit-learn's Nystroem (Williams, Seeger, NeurIPS 2001) and SGDOneClassSVM, in place of OneClassSVM",
    )
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"ocsvm-nystroem-packets": {"input": "packets"}}

    @classmethod
    def declare(cls, params: NystroemSVMParams) -> Capabilities:
        return replace(cls.capabilities, inputs=frozenset({params.input}))

    def __init__(self, params: NystroemSVMParams | None = None) -> None:
        self.params = params or NystroemSVMParams()
        self._machine: _Machine | None = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Landmarks and order of the gradient steps are drawn from the run's seed."""
        from sklearn.kernel_approximation import Nystroem
        from sklearn.linear_model import SGDOneClassSVM
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler()
        rows = scaler.fit_transform(_INPUTS[self.params.input](benign))  # (n, D)
        gamma = _gamma(rows)
        kernel = Nystroem(gamma=gamma, n_components=min(self.params.components, len(rows)), random_state=ctx.seed)
        mapped = kernel.fit_transform(rows)  # (n, components)
        before = np.random.get_state()  # noqa: NPY002  fit() draws a number from the global generator and has no use for it
        machine = SGDOneClassSVM(nu=self.params.nu, random_state=ctx.seed).fit(mapped)
        np.random.set_state(before)  # noqa: NPY002
        # w·φ(x) = Σ_l α_l k(x, l) with α = K(l, l)^(−½) w: the same form as the exact machine, with landmarks for support vectors
        duals = kernel.normalization_.T @ machine.coef_
        self._machine = _Machine(scaler.mean_, scaler.scale_, kernel.components_, duals, np.array(gamma))

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """Negated similarity to the training flows, (n,)."""
        if self._machine is None:
            raise PluginError("ocsvm-nystroem: score() before fit()")
        return _scored(self._machine, flows, self.params.input)

    def save(self, folder: Path) -> None:
        """``ocsvm-nystroem.safetensors`` (standardisation, landmarks, their weights) and ``ocsvm-nystroem.json`` (parameters) in ``folder``."""
        if self._machine is None:
            raise PluginError("ocsvm-nystroem: save() before fit()")
        save_arrays(folder, "ocsvm-nystroem", self.params, vars(self._machine))

    @classmethod
    def load(cls, folder: Path, params: NystroemSVMParams | None = None) -> NystroemSVM:
        """The detector that ``save`` wrote; DataError if the folder holds another parameter set."""
        detector = cls(params)
        detector._machine = _Machine(**load_arrays(folder, "ocsvm-nystroem", detector.params))
        return detector
