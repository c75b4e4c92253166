"""rFM with worst transport (WT-Flow, arXiv 2508.05461): flow matching from the data to noise, coupled at the highest cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.checking import require_integer, require_positive
from detectors.shared.inputs import INPUTS, Standardiser, width_of
from detectors.shared.saving import load_arrays, save_arrays
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import PluginError

__all__ = ["RFM", "RFMParams", "integrate", "worst_coupling"]

_LIMIT = 10.0  # z-scores beyond are clipped
_SCORE_BLOCK = 4096
_INPUT = "features"


@dataclass(frozen=True)
class RFMParams:
    """Parameters of ``rfm``.

    epochs, batch, lr   of Adam; no early stopping.  Rows and noise are coupled within a batch
    steps      of the midpoint rule that carries a flow from t = 0 to t = 1
    """

    epochs: int = 100
    batch: int = 128
    lr: float = 1e-3
    steps: int = 10

    def __post_init__(self) -> None:
        for field in ("epochs", "batch", "steps"):
            require_integer("rfm", field, getattr(self, field))
        require_positive("rfm", "lr", self.lr)


def worst_coupling(rows: NDArray[np.floating], noise: NDArray[np.floating]) -> NDArray[np.int64]:
    """The permutation p of ``noise`` (B, D) for which Σ ‖row_i − noise_p(i)‖² is largest, (B,): optimal transport with its cost maximised."""
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


class RFM:
    """Score = |‖z‖ − √D|, (n,) float64 ≥ 0: z is where the learned flow carries the D = 20 standardised features; noise has ‖z‖ ≈ √D.

    Conditional flow matching on straight paths from a benign row x (t = 0) to noise z ~ N(0, I) (t = 1), squared error against z − x; each batch is
    coupled with its noise at the highest transport cost.  Only the abstract of the paper was read: ``our reading``.
    """

    Params: ClassVar[Any] = RFMParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"features"}), provenance="our reading", source="rFM / WT-Flow, arXiv 2508.05461 (from its abstract)"
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {"quick": {"epochs": 50}, "check": {"epochs": 5, "steps": 5}}

    def __init__(self, params: RFMParams | None = None) -> None:
        self.params = params or RFMParams()
        self._standardiser: Standardiser | None = None
        self._field: Any = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Train on the benign training flows; the validation flows are unused."""
        import torch

        from detectors.shared.training import Schedule, seeded_initialisation, train
        from detectors.shared.velocity import TimeField

        torch.set_num_threads(ctx.threads)
        read = INPUTS[_INPUT]
        self._standardiser = Standardiser.fitted(read.columns(benign))
        with seeded_initialisation(ctx.seed):
            self._field = TimeField(width_of(_INPUT)).to(ctx.device)

        def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            noise = torch.randn(rows.shape, generator=generator)  # (B, D)
            noise = noise[worst_coupling(rows.cpu().numpy(), noise.numpy())].to(rows.device)
            times = torch.rand(len(rows), generator=generator).to(rows.device)  # (B,)
            between = torch.lerp(rows, noise, times[:, None])  # (B, D)
            return (self._field(between, times) - (noise - rows)).square().sum(dim=1).mean()

        train(self._field, read.rows(benign, self._standardiser, _LIMIT), loss, Schedule(self.params.epochs, self.params.batch, self.params.lr), ctx)

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """|‖z‖ − √D| of each flow, (n,)."""
        lengths = np.linalg.norm(self.transport(flows), axis=1)  # (n,)
        return np.abs(lengths - math.sqrt(width_of(_INPUT)))

    def transport(self, flows: FlowBatch) -> NDArray[np.float64]:
        """Where the flow carries each row, (n, D)."""
        import torch

        if self._standardiser is None:
            raise PluginError("rfm: score() before fit()")
        device = next(self._field.parameters()).device
        carried = np.empty((len(flows), width_of(_INPUT)))
        with torch.inference_mode():
            for start in range(0, len(flows), _SCORE_BLOCK):
                block = slice(start, start + _SCORE_BLOCK)
                rows = torch.from_numpy(INPUTS[_INPUT].rows(flows.take(block), self._standardiser, _LIMIT)).to(device)  # (b, D)
                carried[block] = integrate(self._field, rows, self.params.steps).double().cpu().numpy()
        return carried

    def save(self, folder: Path) -> None:
        """Standardisation, weights and parameters in ``folder``, as ``detectors.shared.saving`` writes them."""
        if self._standardiser is None:
            raise PluginError("rfm: save() before fit()")
        weights = {name: weight.cpu().numpy() for name, weight in self._field.state_dict().items()}
        save_arrays(folder, "rfm", self.params, {**vars(self._standardiser), **weights})

    @classmethod
    def load(cls, folder: Path, params: RFMParams | None = None) -> RFM:
        """The detector that ``save`` wrote; DataError if the folder holds another parameter set."""
        import torch

        from detectors.shared.velocity import TimeField

        detector = cls(params)
        arrays = load_arrays(folder, "rfm", detector.params)
        detector._standardiser = Standardiser(arrays.pop("mean"), arrays.pop("std"))
        detector._field = TimeField(width_of(_INPUT))
        detector._field.load_state_dict({name: torch.from_numpy(weight) for name, weight in arrays.items()})
        return detector
