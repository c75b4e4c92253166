"""Neural spline coupling flow (Durkan et al., NeurIPS 2019) on nflows, laid out as pzflow's ``RollingSplineCoupling``.

D coupling layers for D features.  Each transforms the last ⌈D/2⌉ dimensions by rational-quadratic splines on [−5, 5],
identity outside, whose knots an MLP computes from the others; the dimensions roll by one between layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.transforms.base import CompositeTransform
from nflows.transforms.coupling import PiecewiseRationalQuadraticCouplingTransform
from nflows.transforms.nonlinearities import PiecewiseRationalQuadraticCDF
from nflows.transforms.permutations import Permutation
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors.shafir.latent import CentredBeta
from detectors.shared import training
from detectors.shared.training import Schedule, seeded_initialisation

if TYPE_CHECKING:
    from detectors.shafir.config import ShafirParams
    from janus_bench.contract import FitContext

BOUND = 5.0
HIDDEN = 128


class _Conditioner(nn.Sequential):
    """Two hidden layers of 128, leaky ReLU; initial weights Glorot normal and biases N(0, 0.01²), as pzflow's (they
    matter: training is short)."""

    hidden_features = 1  # nflows divides the knots' logits by the root of this; pzflow does not divide

    def __init__(self, inputs: int, outputs: int) -> None:
        layers = [nn.Linear(inputs, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, outputs)]
        for layer in layers:
            nn.init.xavier_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.01)
        super().__init__(layers[0], nn.LeakyReLU(), layers[1], nn.LeakyReLU(), layers[2])

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(inputs)  # (B, d_fixed) → (B, d_moved · (3 · bins − 1))


_LATENTS: dict[str, Callable[[int], Any]] = {
    "normal": lambda dimensions: StandardNormal([dimensions]),
    "beta": lambda dimensions: CentredBeta(dimensions, BOUND),
}


def build_flow(dimensions: int, bins: int, seed: int, latent: str = "normal") -> Any:
    """An untrained flow with ``log_prob((B, D)) → (B,)``.  With one dimension there is nothing to condition on: a
    single free spline."""
    with seeded_initialisation(seed):
        if dimensions == 1:
            spline = PiecewiseRationalQuadraticCDF(shape=[1], num_bins=bins, tails="linear", tail_bound=BOUND)
            return Flow(CompositeTransform([spline]), _LATENTS[latent](1))
        moved = torch.arange(dimensions) >= dimensions // 2  # (D,) the last half is transformed
        roll = torch.arange(dimensions).roll(1)  # (D,)
        layers: list[nn.Module] = []
        for _ in range(dimensions):
            layers += [
                PiecewiseRationalQuadraticCouplingTransform(
                    moved.int(), _Conditioner, num_bins=bins, tails="linear", tail_bound=BOUND
                ),
                Permutation(roll),
            ]
        return Flow(CompositeTransform(layers), _LATENTS[latent](dimensions))


def train(flow: Any, data: NDArray[np.float32], params: ShafirParams, ctx: FitContext) -> None:
    """Minimise the mean −log p over ``data`` (n, D) in place; the last, smaller batch of an epoch counts as a step, as
    in pzflow."""
    schedule = Schedule(params.epochs, params.batch, params.lr, optimiser=params.optimiser)
    training.train(flow, data, lambda rows, _: -flow.log_prob(rows).mean(), schedule, ctx)


@torch.inference_mode()
def log_density(flow: Any, data: NDArray[np.float32]) -> NDArray[np.float64]:
    """log p in nats of scaled rows (n, D), (n,) float64."""
    device = next(flow.parameters()).device
    return flow.log_prob(torch.from_numpy(data).to(device)).double().cpu().numpy()
