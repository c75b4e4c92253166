"""rFM with worst transport (WT-Flow, arXiv 2508.05461): flow matching from the data to noise, coupled at the highest
cost."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.inputs import TableInput
from detectors.shared.tabular import NetworkDetector, features_only
from janus_bench.params import CheckedParams, Count, Positive


@dataclass(frozen=True)
class RFMParams(CheckedParams):
    """Parameters of ``rfm``.

    input      what a row is: ``features`` of the flow, ``context`` (its neighbours), or both
    epochs, batch, lr   of Adam; no early stopping.  Rows and noise are coupled within a batch
    steps      of the midpoint rule that carries a flow from t = 0 to t = 1
    """

    name: ClassVar[str] = "rfm"

    input: TableInput = "features"
    epochs: Count = 100
    batch: Count = 128
    lr: Positive = 1e-3
    steps: Count = 10


def worst_coupling(rows: NDArray[np.floating], noise: NDArray[np.floating]) -> NDArray[np.int64]:
    """The permutation p of ``noise`` (B, D) for which Σ ‖row_i − noise_p(i)‖² is largest, (B,): optimal transport with
    its cost maximised."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(rows @ noise.T)[1]  # ‖x − z‖² = ‖x‖² + ‖z‖² − 2⟨x, z⟩: only the products depend on p


def integrate(field: Callable[[Any, Any], Any], rows: Any, steps: int) -> Any:
    """Carry rows (B, D) along dx/dt = field(x, t) from t = 0 to 1 by the midpoint rule, (B, D)."""
    step = 1.0 / steps
    for i in range(steps):
        times = rows.new_full((len(rows),), i * step)
        halfway = rows + step / 2 * field(rows, times)
        rows = rows + step * field(halfway, times + step / 2)
    return rows


class RFM(NetworkDetector):
    """Score = |‖z‖ − √D|, (n,) float64 ≥ 0: z is where the learned flow carries the D standardised features; noise
    has ‖z‖ ≈ √D.

    Conditional flow matching on straight paths from a benign row x (t = 0) to noise z ~ N(0, I) (t = 1), squared error
    against z − x; each batch is coupled with its noise at the highest transport cost.  The validation flows are unused.
    Only the abstract of the paper was read: ``our reading``.
    """

    Params = RFMParams
    capabilities = features_only(
        "rFM / WT-Flow, arXiv 2508.05461 (from its abstract)", "our reading", groups={"flow-matching"}
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"epochs": 50},
        "check": {"epochs": 5, "steps": 5},
    }

    def _build(self) -> Any:
        from detectors.shared.velocity import TimeField

        return TimeField(self._reading.width)

    def _loss(self, rows: Any, generator: Any) -> Any:
        import torch

        noise = torch.randn(rows.shape, generator=generator)  # (B, D)
        noise = noise[worst_coupling(rows.cpu().numpy(), noise.numpy())].to(rows.device)
        times = torch.rand(len(rows), generator=generator).to(rows.device)  # (B,)
        between = torch.lerp(rows, noise, times[:, None])  # (B, D)
        return (self._model(between, times) - (noise - rows)).square().sum(dim=1).mean()

    def _evaluate(self, rows: Any) -> Any:
        """Where the flow carries each row, (b, D)."""
        return integrate(self._model, rows, self.params.steps)

    def _score(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        lengths = np.linalg.norm(super()._score(rows), axis=1)  # (b,)
        return np.abs(lengths - math.sqrt(self._reading.width))
