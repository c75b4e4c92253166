"""Anomaly Transformer (Xu, Wu, Wang, Long, ICLR 2022, arXiv 2110.02642) with a flow as its window."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from detectors.shared.sequences import SequenceDetector, SequenceParams, packets_only
from janus_bench.params import Count, NonNegative, Positive

TEMPERATURE = 50.0


@dataclass(frozen=True)
class AnomalyTransformerParams(SequenceParams):
    """Parameters of ``anomaly-transformer``.

    width, layers, heads   of the transformer
    k         weight of the association discrepancy in the loss
    weighted  packets' errors are weighted by their association discrepancy; False: their mean
    epochs, batch, lr   of Adam
    halving   lr is halved after every epoch, as in the public code
    """

    name: ClassVar[str] = "anomaly-transformer"

    width: Count = 128
    layers: Count = 3
    heads: Count = 8
    k: NonNegative = 3.0
    weighted: bool = True
    epochs: Count = 10
    batch: Count = 128
    lr: Positive = 1e-4
    halving: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.width % (2 * self.heads) == 0, "width", f"a multiple of twice heads={self.heads}")


def _halved(epoch: int) -> float:
    return 0.5**epoch


class AnomalyTransformer(SequenceDetector):
    """Score = Σ_i softmax_i(−50 · discrepancy_i) · error_i over a flow's packets, (n,) float64 ≥ 0: packets that attend
    as their Gaussian prior does count more.

    The public code stops early on its test set; here training ends after ``epochs`` and the validation flows are
    unused.  ``adapted``: a flow is a window, embedded with padding of zeros where the public code wraps its end onto
    its start, and errors are those of packets.
    """

    Params = AnomalyTransformerParams
    capabilities = packets_only(
        "Xu et al., ICLR 2022, arXiv 2110.02642; thuml/Anomaly-Transformer",
        doubtful="on planted sequences the weights by discrepancy make the error tell less than its plain mean, which "
        "is the preset anomaly-transformer-rec; published figures come from point adjustment and a threshold of the "
        "test set",
        groups={"reconstruction"},
    )
    profiles: ClassVar[dict[str, dict[str, object]]] = {
        "quick": {"width": 64, "layers": 2, "lr": 1e-3, "halving": False, "epochs": 5},
        "paper": {"width": 512},
        "check": {"width": 16, "layers": 2, "heads": 2, "lr": 3e-3, "halving": False, "epochs": 3, "batch": 32},
    }
    presets: ClassVar[dict[str, dict[str, object]]] = {"anomaly-transformer-rec": {"weighted": False}}

    def _build(self) -> Any:
        from detectors.anomaly_transformer import network

        return network.AssociationNetwork(self.params.width, self.params.layers, self.params.heads)

    def _schedule(self) -> Any:
        schedule = super()._schedule()
        return replace(schedule, lr_factor=_halved) if self.params.halving else schedule

    def _errors(self, rows: Any) -> tuple[Any, Any, Any]:
        """Errors of the packets (B, T), associations, and which packets there are (B, T)."""
        from detectors.shared.encoders import as_packets, packet_errors, presence

        packets = as_packets(rows)
        valid = presence(packets)
        output, associations = self._model(packets, valid)
        return packet_errors(packets, output), associations, valid

    def _loss(self, rows: Any, generator: Any) -> Any:
        from detectors.anomaly_transformer.network import minimax

        return minimax(*self._errors(rows), self.params.k)

    def _evaluate(self, rows: Any) -> Any:
        from detectors.anomaly_transformer.network import criterion, reconstruction

        errors, associations, valid = self._errors(rows)
        if not self.params.weighted:
            return reconstruction(errors, valid)
        return criterion(errors, associations, valid, TEMPERATURE)
