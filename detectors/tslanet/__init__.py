"""TSLANet (Eldele et al., ICML 2024, arXiv 2404.08472) as a masked reconstruction of packets."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from detectors.shared.sequences import SequenceDetector, SequenceParams, packets_only
from janus_bench.params import Count, NonNegative, Positive, Share

PASSES = 3  # of a score: pass r hides patches r, r + 3, …


@dataclass(frozen=True)
class TSLANetParams(SequenceParams):
    """Parameters of ``tslanet``.

    width, depth   of the blocks
    masked      share of a flow's patches that is hidden in training, one at least
    leak_free   the packets of a hidden patch are hidden; False: its embedding is, as published, and patches that
                overlap it show its packets
    epochs, batch, lr, weight_decay   of AdamW; no early stopping
    """

    name: ClassVar[str] = "tslanet"

    width: Count = 128
    depth: Count = 2
    masked: Share = 0.4
    leak_free: bool = True
    epochs: Count = 60
    batch: Count = 128
    lr: Positive = 1e-3
    weight_decay: NonNegative = 1e-4


class TSLANet(SequenceDetector):
    """Score = mean error of a flow's packets, each hidden with its patch in one of three passes, (n,) float64 ≥ 0.

    The published pretraining predicts its own embeddings of the hidden patches and collapses (the embeddings shrink);
    here the packets themselves are predicted.  The validation flows are unused.
    """

    Params = TSLANetParams
    capabilities = packets_only(
        "Eldele et al., ICML 2024, arXiv 2404.08472; emadeldeen24/TSLANet",
        "our reading",
        doubtful="the public code has no anomaly detection: head, loss and score are ours; its threshold learns by a "
        "gradient of the wrong sign, which is kept",
        groups={"reconstruction"},
    )
    profiles: ClassVar[dict[str, dict[str, object]]] = {
        "quick": {"width": 64, "epochs": 15},
        "paper": {},
        "check": {"width": 16, "epochs": 4, "batch": 32, "lr": 3e-3},
    }

    def _build(self) -> Any:
        from detectors.tslanet import network

        return network.PatchNetwork(self.params.width, self.params.depth)

    def _schedule(self) -> Any:
        return replace(super()._schedule(), optimiser="adamw", weight_decay=self.params.weight_decay)

    def _loss(self, rows: Any, generator: Any) -> Any:
        import torch

        from detectors.shared.encoders import smallest
        from detectors.tslanet.network import PATCHES, begun

        packets = _packets(rows)
        there = begun(packets)  # (B, 15)
        count = (self.params.masked * there.sum(dim=1)).round().long().clamp_min(1)
        draws = torch.rand((len(rows), PATCHES), generator=generator).to(rows.device)
        errors, counts = self._errors(packets, smallest(draws, there, count))
        return errors.sum() / counts.sum().clamp_min(1)

    def _errors(self, packets: Any, masked: Any) -> tuple[Any, Any]:
        from detectors.tslanet.network import patch_errors

        return patch_errors(packets, self._model(packets, masked, self.params.leak_free), masked)

    def _evaluate(self, rows: Any) -> Any:
        import torch

        from detectors.tslanet.network import PATCHES

        packets = _packets(rows)
        turns = torch.arange(PATCHES, device=rows.device) % PASSES
        passes = [self._errors(packets, (turns == turn).expand(len(rows), -1)) for turn in range(PASSES)]
        errors, counts = (torch.stack(parts).sum(dim=0) for parts in zip(*passes, strict=True))
        return errors / counts.clamp_min(1)


def _packets(rows: Any) -> Any:
    """(B, 640) → (B, 64, 10), whatever the flows' lengths: the spectrum is that of all patches."""
    from detectors.shared.encoders import N_COLUMNS

    return rows.unflatten(1, (-1, N_COLUMNS))
