"""Distance to neighbours in the teacher's features: what a frozen encoder is worth without a student."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.distillation import CHECK, TeacherDetector, TeacherParams
from detectors.shared.sequences import packets_only
from detectors.shared.tabular import Arrays
from janus_bench.contract import FitContext
from janus_bench.params import Count


@dataclass(frozen=True)
class SSLKNNParams(TeacherParams):
    """Parameters of ``ssl-knn``: those of the teacher and

    components  principal components that are whitened, at most
    k           which neighbour; the farthest training flow where there are fewer
    """

    name: ClassVar[str] = "ssl-knn"

    components: Count = 64
    k: Count = 5


class SSLKNN(TeacherDetector):
    """Score = Euclidean distance to the k-th nearest benign training flow, (n,) float64 ≥ 0, among the whitened
    principal components of the frozen teacher's features: mean and maximum over a flow's packets of all three maps.

    Ours, a control beside the distillation rows: it has their teacher and no student.
    """

    Params = SSLKNNParams
    capabilities = packets_only(
        "ours: the teacher of stfpm, rd4ad, mmr and conmd, whitened, under k-NN",
        "our reading",
        doubtful="published nowhere: which features are taken, that they are whitened, and k are choices of ours",
        groups={"neighbours"},
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"teacher_epochs": 10},
        "paper": {},
        "check": {"teacher_epochs": CHECK["teacher_epochs"], "width": CHECK["width"]},
    }
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"ssl-knn-random": {"teacher": "random"}}

    def __init__(self, params: Any = None) -> None:
        super().__init__(params)
        self._bank: Arrays = {}
        self._tree: Any = None  # made by the first score, for a loaded detector has none

    def _build(self) -> Any:
        from detectors.distillation.students import Embedding

        return Embedding(self.params.width)

    def _train(self, rows: NDArray[np.float32], ctx: FitContext) -> None:
        from sklearn.decomposition import PCA

        features = self._applied(self._evaluate, rows)  # (n, 14 W)
        pca = PCA(min(self.params.components, *features.shape), svd_solver="full").fit(features)
        spread = np.sqrt(pca.explained_variance_)
        # what hardly varies among the benign flows must not turn rounding into distance
        turn = pca.components_.T / np.maximum(spread, 1e-3 * spread[0] + 1e-9)  # (14 W, C)
        self._bank = {"centre": pca.mean_, "turn": turn, "rows": (features - pca.mean_) @ turn}
        self._tree = None

    def _evaluate(self, rows: Any) -> Any:
        from detectors.shared.encoders import as_packets

        return self._model(as_packets(rows))

    def _score(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        from scipy.spatial import KDTree

        if self._tree is None:
            self._tree = KDTree(self._bank["rows"])
        whitened = (super()._score(rows) - self._bank["centre"]) @ self._bank["turn"]  # (b, C)
        return self._tree.query(whitened, k=[min(self.params.k, self._tree.n)])[0][:, 0]

    def _arrays(self) -> Arrays:
        return super()._arrays() | {f"bank.{name}": array for name, array in self._bank.items()}

    def _restore(self, arrays: Arrays) -> None:
        super()._restore(arrays)
        bank = "bank."
        self._bank = {name.removeprefix(bank): array for name, array in arrays.items() if name.startswith(bank)}
