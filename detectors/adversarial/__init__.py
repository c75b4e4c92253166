"""Encoder–decoder–encoder on packets: ``ganomaly``, ``mfad`` and ``undiff``; ``arcade`` is in ``arcade.py``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.inputs import N_CONTINUOUS, PACKET_COLUMNS
from detectors.shared.sequences import SequenceDetector, SequenceParams, packets_only
from janus_bench.contract import FlowBatch
from janus_bench.params import Count, NonNegative, Positive

CHECK: Mapping[str, object] = {"width": 4, "code": 8, "epochs": 8, "batch": 16, "lr": 2e-3}


@dataclass(frozen=True)
class GANomalyParams(SequenceParams):
    """Parameters of ``ganomaly``.

    width       channels of the first of four convolutions; the last has eight times as many
    code        numbers in the code
    epochs, batch, lr  of Adam with β₁ = 0.5, generator and discriminator by turns; the last epoch is kept, since no
                loss of a game means progress
    adversarial, contextual, latent  weights of the generator's three losses
    """

    name: ClassVar[str] = "ganomaly"

    width: Count = 64
    code: Count = 100
    epochs: Count = 100
    batch: Count = 64
    lr: Positive = 2e-4
    adversarial: NonNegative = 1.0
    contextual: NonNegative = 50.0
    latent: NonNegative = 1.0


class GANomaly(SequenceDetector):
    """Score = mean (z − ẑ)², (n,) float64 ≥ 0: the code of a flow, and the code of what the decoder makes of it (Akcay,
    Atapour-Abarghouei, Breckon, ACCV 2018).

    ``adapted``: 1-D convolutions over 64 packets in place of images, linear and sigmoid outputs in place of tanh, the
    true presence of packets beside the reconstruction.  The code's scaling of scores over the test set, its choice of
    the epoch by test labels and its new start of a discriminator that wins are left out.
    """

    Params = GANomalyParams
    capabilities = packets_only(
        "Akcay, Atapour-Abarghouei, Breckon, ACCV 2018 (GANomaly), arXiv 1805.06725",
        doubtful="its spread over seeds is large",
        groups={"reconstruction", "adversarial"},
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"width": 16, "epochs": 30},
        "paper": {},
        "check": CHECK,
    }
    attention: ClassVar[bool] = False

    def _build(self) -> Any:
        from detectors.adversarial.networks import Trio

        return Trio(self.params.width, self.params.code, self.attention)

    def _schedule(self) -> Any:
        return replace(super()._schedule(), betas=(0.5, 0.999), drop_last=True)

    def _phases(self) -> Any:
        from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

        from detectors.adversarial.networks import content, images
        from detectors.shared.training import Phase

        trio, params = self._model, self.params
        seen: dict[str, Any] = {}  # the discriminator judges what the generator made before its step, as in the code

        def generate(rows: Any, *_: Any) -> Any:
            x = images(rows)
            code, made, again = trio(x)
            seen["true"], seen["made"] = x, made.detach()
            return (
                params.adversarial * self._fooled(trio.discriminator, x, made)
                + params.contextual * content(x, made)
                + params.latent * self._differing(code, again)
            )

        def discriminate(*_: Any) -> Any:
            true, made = (trio.discriminator(seen[name]) for name in ("true", "made"))
            losses = cross_entropy(true, true.new_ones(true.shape)), cross_entropy(made, made.new_zeros(made.shape))
            return sum(losses) / 2

        return [Phase(trio.generator(), generate), Phase(trio.discriminator.parameters(), discriminate)]

    def _fooled(self, discriminator: Any, x: Any, made: Any) -> Any:
        """The generator's adversarial loss: mean squared difference of the discriminator's last features."""
        return (discriminator.features(x).detach() - discriminator.features(made)).square().mean()

    def _differing(self, code: Any, again: Any) -> Any:
        """The loss of two codes, ()."""
        return (code - again).square().mean()

    def _evaluate(self, rows: Any) -> Any:
        from detectors.adversarial.networks import images

        code, _, again = self._model(images(rows))
        return (code - again).square().mean(dim=1)


def low_passed(rows: NDArray[np.float32], highest: Callable[[int], int]) -> NDArray[np.float32]:
    """Rows (n, 640) whose continuous channels keep, of a flow of p packets, the frequencies 0 to ``highest(p)`` along
    those packets; bits as they are."""
    packets = rows.reshape(len(rows), -1, len(PACKET_COLUMNS)).copy()  # (n, 64, 10)
    lengths = packets[..., -1].sum(axis=1).astype(int)  # (n,)
    for length in np.unique(lengths[lengths > 1]).tolist():
        chosen = np.flatnonzero(lengths == length)
        spectrum = np.fft.rfft(packets[chosen, :length, :N_CONTINUOUS].astype(np.float64), axis=1)
        spectrum[:, highest(length) + 1 :] = 0
        packets[chosen, :length, :N_CONTINUOUS] = np.fft.irfft(spectrum, n=length, axis=1)
    return packets.reshape(rows.shape)


def lowest_tenth(length: int) -> int:
    """The highest frequency that MFAD keeps of so many packets: a tenth of them, as radius 4 is of 40 pixels."""
    return max(1, round(length / 10))


@dataclass(frozen=True)
class MFADParams(GANomalyParams):
    """Parameters of ``mfad``: those of ``ganomaly``, with the weights and the rate of MFR's code."""

    name: ClassVar[str] = "mfad"

    batch: Count = 128
    lr: Positive = 1e-4
    contextual: NonNegative = 60.0


class MFAD(GANomaly):
    """Score = mean (z − ẑ)², (n,) float64 ≥ 0, as ``ganomaly``'s, of flows whose continuous channels are low-passed
    along their packets (Zheng, Lian et al., CIKM 2023).

    With attention over channels and positions after each block, the squared difference of the discriminator's
    probabilities, and smooth L1 between the codes.  ``our reading``: the public code is the successor's (MFR), its
    filter was not released, and CIKM's fusion of several cut-offs was read in the abstract alone; here there is one.
    """

    Params = MFADParams
    capabilities = packets_only(
        "Zheng, Lian et al., CIKM 2023 (MFAD), from the code of its successor MFR",
        "our reading",
        doubtful="the filter was not released, the fusion of several cut-offs is not built",
        groups={"reconstruction", "adversarial"},
    )
    attention = True

    def _rows(self, flows: FlowBatch) -> NDArray[Any]:
        return low_passed(super()._rows(flows), lowest_tenth)

    def _fooled(self, discriminator: Any, x: Any, made: Any) -> Any:
        return (discriminator(x).sigmoid().detach() - discriminator(made).sigmoid()).square().mean()

    def _differing(self, code: Any, again: Any) -> Any:
        from torch.nn.functional import smooth_l1_loss

        return smooth_l1_loss(code, again)


@dataclass(frozen=True)
class UnDiffParams(SequenceParams):
    """Parameters of ``undiff``: width, code, epochs, batch and lr as ``ganomaly`` has them."""

    name: ClassVar[str] = "undiff"

    width: Count = 32
    code: Count = 128
    epochs: Count = 100
    batch: Count = 128
    lr: Positive = 5e-5


class UnDiff(SequenceDetector):
    """Score = β / (v (α − 1)), (n,) float64 > 0: the epistemic variance of a normal-inverse-gamma over how far a flow's
    code and its reconstruction's differ (Lian et al., WWW 2025).

    No diffusion: evidential learning on ``ganomaly``'s trio without its discriminator, with attention as in ``mfad``.
    ``adapted``: packets in place of images; α > 1 by construction, where the code's softplus makes scores negative or
    infinite; the last epoch in place of one chosen by test labels.
    """

    Params = UnDiffParams
    capabilities = packets_only(
        "Lian et al., WWW 2025 (UnDiff), from its code",
        doubtful="the released class calls itself in place of its loss, α is changed to keep the variance finite; the "
        "evidence is read from the reconstruction alone: narrower and at a higher rate it learned the lengths of flows "
        "and was at chance on planted sequences; as shipped it sees one wrong packet in a flow with AUROC .75 to .80",
        groups={"reconstruction"},
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"epochs": 60},  # half the width at four times the rate learned lengths, and nothing else
        "paper": {},
        "check": {**CHECK, "epochs": 3},
    }

    def _build(self) -> Any:
        from detectors.adversarial.networks import Trio

        return Trio(self.params.width, self.params.code, attention=True, extra=3, discriminator=False)

    def _schedule(self) -> Any:
        return replace(super()._schedule(), betas=(0.5, 0.999), drop_last=True)

    def _outputs(self, rows: Any) -> tuple[Any, Any, Any, Any]:
        """Image, reconstruction, squared difference of the codes (b,), and (v, α, β)."""
        from detectors.adversarial.networks import evidence, images

        x = images(rows)
        code, made, again = self._model(x)
        return x, made, (code - again[:, :-3]).square().mean(dim=1), evidence(again[:, -3:])

    def _loss(self, rows: Any, generator: Any) -> Any:
        from detectors.adversarial.networks import content, student_t_nll

        x, made, squared, (v, alpha, beta) = self._outputs(rows)
        evidential = student_t_nll(squared, v, alpha, beta) + 1e-5 * squared * (2 * v + alpha)
        return 0.5 * content(x, made) + 0.005 * evidential.mean()

    def _evaluate(self, rows: Any) -> Any:
        *_, (v, alpha, beta) = self._outputs(rows)
        return beta / (v * (alpha - 1))
