"""The bounded latent of the released script: independent centred Beta(13, 13) on (−5, 5), pzflow's ``CentBeta13``."""

import math

import torch
from nflows.distributions.base import Distribution
from torch import Tensor

SHAPE = 13.0  # close to normal, standard deviation .96
EDGE = 0.999  # share of the bound up to which the density is the Beta's own


class CentredBeta(Distribution):
    """log p(z) = Σ_d 12·log(1 − (z_d/B)²) + const on |z_d| < B.

    Beyond ``EDGE``·B the original's density falls to 0, so that thousands of points tie at −log p = ∞.  Here the
    logarithm goes on along its tangent there: such points are ordered by their distance, above all others in that
    dimension.  The mass that this adds is below 1e-30.
    """

    def __init__(self, dimensions: int, bound: float) -> None:
        super().__init__()
        self._shape = torch.Size([dimensions])
        self.bound = bound
        # ∫ (1 − u²)¹² du over (−1, 1) is 2²⁵ B(13, 13)
        self.log_norm = (
            math.log(bound) + (2 * SHAPE - 1) * math.log(2) + 2 * math.lgamma(SHAPE) - math.lgamma(2 * SHAPE)
        )

    def _log_prob(self, inputs: Tensor, context: Tensor | None) -> Tensor:
        u = inputs.abs() / self.bound  # (B, D)
        inside = u.clamp(max=EDGE)
        slope = -2 * (SHAPE - 1) * EDGE / (1 - EDGE**2)
        log_p = (SHAPE - 1) * torch.log1p(-inside.square()) + slope * (u - inside) - self.log_norm
        return log_p.sum(dim=1)  # (B,)
