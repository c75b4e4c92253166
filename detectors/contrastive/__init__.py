"""Self-supervised contrastive transformer on packet sequences (Koukoulis, Syrigos, Korakis, IFIP Networking 2025, arXiv
2505.08816)."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.inputs import PACKET_COLUMNS
from detectors.shared.sequences import SequenceDetector, SequenceParams, packets_only
from detectors.shared.tabular import Arrays
from janus_bench.columns import MAX_PACKETS
from janus_bench.contract import FitContext
from janus_bench.params import Count, Limit, Positive, Share


@dataclass(frozen=True)
class ContrastiveParams(SequenceParams):
    """Parameters of ``contrastive``; defaults are those of the public code.

    packets  first ones of a flow that are read
    win      the TCP window is read too
    width, layers, heads   of the transformer
    share    of a flow's packets that its second view takes from another flow
    temperature   of the contrast between views
    epochs, batch, lr   of AdamW; no early stopping
    """

    name: ClassVar[str] = "contrastive"

    packets: Annotated[int, Limit("≥", 1), Limit("≤", MAX_PACKETS)] = 32
    win: bool = False
    width: Count = 256
    layers: Count = 4
    heads: Count = 4
    share: Share = 0.4
    temperature: Positive = 0.5
    epochs: Count = 1
    batch: Count = 128
    lr: Positive = 5e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.width % self.heads == 0 and self.width >= 5, "width", f"a multiple of heads={self.heads}, ≥ 5"
        )


class Contrastive(SequenceDetector):
    """Score = 1 − largest cosine between the flow's CLS token and that of any training flow, (n,) float64 in [0, 2].

    Two views of a flow attract each other among all views of a batch: the flow, and a copy in which a stretch of its
    packets is replaced by the same positions of a random training flow of equal length, which may be itself.  The
    validation flows are unused, as in the public code.  ``adapted``: sizes are those of IP packets instead of payloads,
    the protocol is not read, of the flags five are, and continuous columns are standardised.
    """

    Params = ContrastiveParams
    capabilities = packets_only(
        "Koukoulis et al., IFIP Networking 2025, arXiv 2505.08816; koukipp/contrastive_transformers_ids",
        doubtful="identical benign flows repel each other in a batch; the view of a flow of one packet is the flow; "
        "every training flow is kept, and looked at for every score",
        groups={"contrast", "neighbours"},
    )
    profiles: ClassVar[dict[str, dict[str, object]]] = {
        "quick": {"width": 64, "layers": 2, "epochs": 5, "lr": 5e-4},
        "paper": {},
        "check": {"width": 16, "layers": 1, "heads": 2, "epochs": 2, "batch": 32, "lr": 1e-3},
    }

    def _build(self) -> Any:
        from detectors.contrastive.network import FlowEncoder

        p = self.params
        return FlowEncoder(("size", "iat", *(("win",) if p.win else ())), p.packets, p.width, p.layers, p.heads)

    def _schedule(self) -> Any:
        return replace(super()._schedule(), optimiser="adamw", weight_decay=0.01)

    def _rows(self, flows: Any) -> NDArray[Any]:
        return super()._rows(flows)[:, : self.params.packets * len(PACKET_COLUMNS)]

    def _learn(self, rows: NDArray[np.float32], ctx: FitContext) -> Any:
        self._by_length = _ByLength(rows)
        network = super()._learn(rows, ctx)
        self._bank = self._applied(self._codes, rows).astype(np.float32)  # (n, W)
        del self._by_length
        return network

    def _loss(self, rows: Any, generator: Any) -> Any:
        import torch

        from detectors.contrastive.network import nt_xent
        from detectors.shared.encoders import by_length

        parts = [self._views(rows[part], generator) for part in by_length(rows)]
        first, second = (torch.cat(views) for views in zip(*parts, strict=True))
        return nt_xent(first, second, self.params.temperature)

    def _views(self, rows: Any, generator: Any) -> list[Any]:
        """What the head makes of both views of each flow, (B, W) each."""
        import torch

        from detectors.contrastive.network import cut_and_pasted
        from detectors.shared.encoders import as_packets

        packets = as_packets(rows)
        partners = as_packets(self._by_length.drawn(rows, generator).to(rows.device))
        draws = torch.rand(len(rows), generator=generator).to(rows.device)
        views = (packets, cut_and_pasted(packets, partners, self.params.share, draws))
        return [self._model.head(self._model(view)) for view in views]

    def _codes(self, rows: Any) -> Any:
        """CLS of each flow with length 1, (b, W)."""
        from torch.nn import functional

        from detectors.shared.encoders import as_packets

        return functional.normalize(self._model(as_packets(rows)), dim=1)

    def _evaluate(self, rows: Any) -> Any:
        import torch

        cosines = self._codes(rows) @ torch.from_numpy(self._bank).to(rows.device).T  # (b, n)
        return (1 - cosines.amax(dim=1)).clamp_min(0)

    def _arrays(self) -> Arrays:
        return {**super()._arrays(), "bank": self._bank}

    def _restore(self, arrays: Arrays) -> None:
        self._bank = arrays.pop("bank")
        super()._restore(arrays)


def _lengths(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Packets of each of the rows (n, 10 · T), (n,)."""
    return rows[:, len(PACKET_COLUMNS) - 1 :: len(PACKET_COLUMNS)].sum(axis=1).astype(np.int64)


class _ByLength:
    """Training rows (n, D) in the order of their lengths, from which partners of a given length are drawn."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        import torch

        lengths = _lengths(rows)
        order = np.argsort(lengths, kind="stable")
        self._rows = torch.from_numpy(rows[order])
        self._starts = torch.from_numpy(np.searchsorted(lengths[order], np.arange(MAX_PACKETS + 2)))

    def drawn(self, rows: Any, generator: Any) -> Any:
        """For each of the rows (B, D) a random training row with as many packets, (B, D)."""
        import torch

        lengths = torch.from_numpy(_lengths(rows.cpu().numpy()))
        first, count = self._starts[lengths], (self._starts[lengths + 1] - self._starts[lengths])
        return self._rows[first + (torch.rand(len(rows), generator=generator) * count).long()]
