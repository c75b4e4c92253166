"""TIPSO-GAN without labels: an adversarial autoencoder whose weights a particle swarm chooses (after Akpaku, Chen,
Ofoeda, NDSS 2026)."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.inputs import TableInput
from detectors.shared.tabular import Arrays, NetworkDetector, features_only
from detectors.tipso.swarm import search
from janus_bench.contract import FitContext
from janus_bench.params import CheckedParams, Count, Positive

# of adversarial weight, reconstruction weight and learning rate: powers of ten above and below where they begin
RANGE = np.array([1.0, 1.0, 0.5])
ADVERSARIAL = 0.1  # where its weight begins; the reconstruction's begins at 1
FLOOR = 1e-6  # below which a spread of validation scores is not divided by


@dataclass(frozen=True)
class TIPSOGANParams(CheckedParams):
    """Parameters of ``tipso-gan-unsupervised``.

    input       ``features`` of the flow, ``context`` (its neighbours) or ``features+context``
    swarm       particles
    iterations  of the swarm
    trial       epochs of the training by which a particle is judged
    epochs, batch, lr   of Adam in the training with what the swarm found
    """

    name: ClassVar[str] = "tipso-gan-unsupervised"

    input: TableInput = "features"
    swarm: Count = 8
    iterations: Count = 5
    trial: Count = 3
    epochs: Count = 50
    batch: Count = 64
    lr: Positive = 2e-4


class TIPSOGAN(NetworkDetector):
    """Score = z-score of the reconstruction error + z-score of the critic's −logit, (n,) float64, in units of the
    benign validation flows (of the training flows where there are none).

    A particle holds the logarithms of the adversarial weight, the reconstruction weight and the learning rate; its loss
    is the reconstruction error of the benign validation flows after a short training.
    """

    Params = TIPSOGANParams
    capabilities = features_only(
        "after Akpaku, Chen, Ofoeda, NDSS 2026; osampas27/tipsoganmod",
        "our reading",
        doubtful="all of it: the published method is supervised, its released scores come from a classifier trained on "
        "labels, its swarm is never called and its generator has no trained encoder; this is what is left without "
        "labels. The critic's half of the score can point the wrong way: it tells rows from reconstructions, and rows "
        "whose dependences are broken are no reconstructions",
        groups={"reconstruction", "adversarial"},
    )
    profiles: ClassVar[dict[str, dict[str, object]]] = {
        "quick": {"swarm": 4, "iterations": 3, "trial": 1, "epochs": 30},
        "paper": {},
        "check": {"swarm": 2, "iterations": 2, "trial": 1, "epochs": 8, "lr": 1e-3},
    }

    def _build(self) -> Any:
        from detectors.tipso.network import AdversarialAutoencoder

        return AdversarialAutoencoder(self._reading.width)

    def _learn(self, rows: NDArray[np.float32], ctx: FitContext) -> Any:
        held_out = self._rows(ctx.validation) if len(ctx.validation) else rows
        rng = np.random.default_rng(ctx.seed)

        def loss(place: NDArray[np.float64]) -> float:
            self._weights, self._epochs = place, self.params.trial
            NetworkDetector._learn(self, rows, replace(ctx, progress=_silent))
            return float(self._measured(held_out)[:, 0].mean())

        for i, swarm in enumerate(search(loss, -RANGE, RANGE, self.params.swarm, self.params.iterations, rng), 1):
            ctx.progress(0.5 * i / self.params.iterations, f"swarm {i}, error {swarm.losses.min():.4f}")
        self._weights, self._epochs = swarm.leader.copy(), self.params.epochs
        network = super()._learn(rows, ctx)
        measured = self._measured(held_out)
        self._usual, self._spread = measured.mean(axis=0), np.maximum(measured.std(axis=0), FLOOR)
        return network

    def _schedule(self) -> Any:
        rate = self.params.lr * 10 ** self._weights[2]
        return replace(super()._schedule(), epochs=self._epochs, lr=float(rate), betas=(0.5, 0.999))

    def _phases(self) -> Any:
        from detectors.shared.training import Phase

        adversarial, reconstruction = (np.array([ADVERSARIAL, 1.0]) * 10 ** self._weights[:2]).tolist()
        made = [*self._model.encoder.parameters(), *self._model.generator.parameters()]
        return [
            Phase(self._model.critic.parameters(), lambda rows, *_: self._model.critic_loss(rows)),
            Phase(made, lambda rows, *_: self._model.generator_loss(rows, adversarial, reconstruction)),
        ]

    def _measured(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._applied(self._evaluate, rows)

    def _evaluate(self, rows: Any) -> Any:
        """Error and −logit, (b, 2)."""
        return self._model.measured(rows)

    def _score(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return ((self._measured(rows) - self._usual) / self._spread).sum(axis=1)

    def _arrays(self) -> Arrays:
        return {**super()._arrays(), "usual": self._usual, "spread": self._spread}

    def _restore(self, arrays: Arrays) -> None:
        self._usual, self._spread = arrays.pop("usual"), arrays.pop("spread")
        super()._restore(arrays)


def _silent(fraction: float, text: str) -> None:
    """The short trainings of the swarm say nothing."""
