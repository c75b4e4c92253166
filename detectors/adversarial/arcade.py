"""ARCADE (IEEE TNSM 2023): an autoencoder of packets whose training a critic of its reconstructions regularises."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from detectors.shared.sequences import SequenceDetector, SequenceParams, packets_only
from janus_bench.columns import MAX_PACKETS
from janus_bench.params import Count, Limit, NonNegative, Positive

CRITIC_STEPS = 5
"""Steps of the critic for one of the autoencoder."""


@dataclass(frozen=True)
class ARCADEParams(SequenceParams):
    """Parameters of ``arcade``.

    packets      the first packets of a flow that are read
    code         numbers in the code
    epochs, batch, lr  of Adam with β = (0, 0.9); the last epoch is kept
    adversarial  weight of the critic's judgement; 0: no critic, and a step of the autoencoder in every batch
    """

    name: ClassVar[str] = "arcade"

    packets: Annotated[int, Limit("≥", 1), Limit("≤", MAX_PACKETS)] = MAX_PACKETS
    code: Count = 50
    epochs: Count = 100
    batch: Count = 128
    lr: Positive = 1e-4
    adversarial: NonNegative = 0.01


class ARCADE(SequenceDetector):
    """Score = reconstruction error of the packets that are read, (n,) float64 ≥ 0, as ``ae-packets``' (Lunardi,
    Andreoni Lopez, Giacalone, IEEE TNSM 20, 2023).

    A Wasserstein critic with gradient penalty makes the autoencoder's reconstructions look benign, so that it makes
    others worse.  ``our reading``: there is no public code, the abstract was read and the settings are from memory.
    """

    Params = ARCADEParams
    capabilities = packets_only(
        "Lunardi, Andreoni Lopez, Giacalone, IEEE TNSM 20, 2023 (ARCADE), arXiv 2205.01432",
        "our reading",
        doubtful="from its abstract, without code, settings from memory",
        groups={"reconstruction", "adversarial"},
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"epochs": 30, "lr": 1e-3},
        "paper": {},
        "check": {"epochs": 5, "batch": 32, "lr": 2e-3, "packets": 16},
    }
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"arcade-2": {"packets": 2}}

    def _build(self) -> Any:
        from detectors.adversarial.critic import Adversaries

        return Adversaries(self._length, self.params.code)

    @property
    def _length(self) -> int:
        """Positions that the networks see."""
        return -(-self.params.packets // 8) * 8

    def _image(self, rows: Any) -> Any:
        """Rows (B, 640) → (B, 10, T), without packets beyond those that are read."""
        from detectors.adversarial.networks import images

        image = images(rows)[..., : self._length].clone()
        image[..., self.params.packets :] = 0
        return image

    def _schedule(self) -> Any:
        return replace(super()._schedule(), betas=(0.0, 0.9))

    def _phases(self) -> Any:
        from detectors.adversarial.critic import penalty, shown
        from detectors.shared.training import Phase

        networks, weight = self._model, self.params.adversarial
        weights = [*networks.encoder.parameters(), *networks.decoder.parameters()]

        def judge(rows: Any, _: Any, generator: Any) -> Any:
            import torch

            x = self._image(rows)
            with torch.no_grad():
                made = shown(x, networks(x))
            share = torch.rand(len(x), generator=generator).to(x.device)
            return (networks.critic(made) - networks.critic(x)).mean() + penalty(networks.critic, x, made, share)

        def reconstruct(rows: Any, *_: Any) -> Any:
            x = self._image(rows)
            output = networks(x)
            error = self._error(x, output).mean()
            return error - weight * networks.critic(shown(x, output)).mean() if weight else error

        if not weight:
            return [Phase(weights, reconstruct)]
        return [Phase(networks.critic.parameters(), judge), Phase(weights, reconstruct, CRITIC_STEPS)]

    def _error(self, x: Any, output: Any) -> Any:
        from detectors.shared.encoders import masked_mean, packet_errors, presence

        packets = x.transpose(1, 2)  # (B, T, 10)
        return masked_mean(packet_errors(packets, output.transpose(1, 2)), presence(packets))

    def _evaluate(self, rows: Any) -> Any:
        x = self._image(rows)
        return self._error(x, self._model(x))
