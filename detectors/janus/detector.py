"""JANUS behind the detector contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.janus.params import JanusParams
from detectors.janus.preprocess import Sequences, Standardiser
from harness.contract import Capabilities, DataError, FitContext, FlowBatch, UsageError

if TYPE_CHECKING:
    from detectors.janus.network import Network
    from detectors.janus.scoring import NoiseBank

__all__ = ["Janus"]

SCORES = (
    "terminal_flow",
    "terminal_packet",
    "terminal_norm",
    "disc_nll_total",
    "disc_nll_ch2",
    "disc_nll_ch3",
    "disc_nll_ch4",
    "disc_nll_ch5",
    "disc_nll_ch6",
    "disc_nll_ch7",
)
"""Channels 2 … 7 are direction, SYN, FIN, RST, PSH, ACK (``contract.DISCRETE_CHANNELS``); the names are the JANUS project's."""

CHUNK = 50_000
"""Flows that are standardised and scored at a time, to bound memory on large captures."""

PARAMS_FILE = "janus.json"
TENSORS_FILE = "janus.safetensors"


@dataclass(frozen=True)
class _Fitted:
    standardiser: Standardiser
    network: Network
    bank: NoiseBank


class Janus:
    """JANUS: one packet-causal Transformer with a continuous and a discrete flow-matching head, trained on benign flows only.

    ``score`` returns ten columns; the harness's aggregator (Mahalanobis with the OAS covariance, fitted on the target's benign calibration
    scores) makes the scalar.  The total NLL is the mean of the six, so their covariance has rank 9.

    Source: the JANUS project's README for architecture, hyper-parameters and score names; formulas are our reading.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"packets", "features"}),
        scores=SCORES,
        aggregator="oas",
        provenance="our reading",
        source="JANUS project README; OT-CFM (Tong et al., TMLR 2024), discrete flow matching (Gat et al., NeurIPS 2024)",
    )
    Params: ClassVar[type[JanusParams]] = JanusParams
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"d_model": 64, "n_layers": 2, "epochs": 25, "k_steps": 8, "sigma": 0.1},
        "paper": {},
        "paper/cross": {"sigma": 0.6},
        "check": {"d_model": 32, "n_layers": 1, "epochs": 3, "k_steps": 4},
    }

    def __init__(self, params: JanusParams | None = None) -> None:
        self.params = params if params is not None else JanusParams()
        self._fitted: _Fitted | None = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Train on ``benign``; raises UsageError when it is empty.

        Everything random comes from ``ctx.seed``: initial weights, batches, noise, and the noise bank of scoring.
        """
        import torch

        from detectors.janus.scoring import NoiseBank
        from detectors.janus.training import train

        if len(benign) == 0:
            raise UsageError("janus: there are no benign training flows; it needs at least one")
        torch.set_num_threads(ctx.threads)
        training_seed, bank_seed = (int(state) for state in np.random.SeedSequence(ctx.seed).generate_state(2, np.uint32))
        standardiser = Standardiser.fitted(benign, self.params.T)
        network = train(
            standardiser.apply(benign, self.params.T),
            standardiser.apply(ctx.validation, self.params.T),
            self.params,
            torch.Generator().manual_seed(training_seed),
            torch.device(ctx.device),
            ctx.progress,
        )
        self._fitted = _Fitted(standardiser, network, NoiseBank.drawn(self.params, torch.Generator().manual_seed(bank_seed)))

    def score(self, flows: FlowBatch) -> dict[str, NDArray[np.float64]]:
        """The ten columns of ``Capabilities.scores``, each (n,) float64, higher = more anomalous.

        A flow's scores depend on that flow alone, up to rounding.  Raises UsageError before ``fit`` or ``load``.
        """
        from detectors.janus.scoring import score_sequences

        fitted = self._need_fit()
        chunks = [np.empty((0, len(SCORES)))]
        for start in range(0, len(flows), CHUNK):
            chunk = flows if len(flows) <= CHUNK else flows.take(slice(start, start + CHUNK))
            data: Sequences = fitted.standardiser.apply(chunk, self.params.T)
            chunks.append(score_sequences(fitted.network, data, fitted.bank, self.params))
        table = np.concatenate(chunks)
        return {name: np.ascontiguousarray(table[:, column]) for column, name in enumerate(SCORES)}

    def save(self, folder: Path) -> None:
        """Write ``janus.json`` (parameters) and ``janus.safetensors`` (weights, statistics, noise bank) to ``folder``, which is created."""
        import torch
        from safetensors.torch import save_file

        fitted = self._need_fit()
        tensors = {f"network.{name}": value for name, value in fitted.network.state_dict().items()}
        tensors |= {f"standardiser.{name}": torch.from_numpy(value) for name, value in vars(fitted.standardiser).items()}
        tensors |= {f"bank.{name}": value for name, value in vars(fitted.bank).items()}
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, folder / TENSORS_FILE)
        document = {"version": self.capabilities.version, "params": asdict(self.params)}
        (folder / PARAMS_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, params: JanusParams) -> Janus:
        """A detector ready to score, on the CPU; raises DataError when ``folder`` holds no model, a damaged one, or one of other parameters."""
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from detectors.janus.network import Network
        from detectors.janus.scoring import NoiseBank

        try:
            document = json.loads((folder / PARAMS_FILE).read_text(encoding="utf-8"))
            saved = {"version": document["version"], **document["params"]}
            tensors = load_file(folder / TENSORS_FILE)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise DataError(f"janus: no readable model in {folder} ({type(error).__name__}: {error}); fit again") from None
        for name, value in {"version": cls.capabilities.version, **asdict(params)}.items():
            if saved.get(name) != value:
                raise DataError(f"janus: the model in {folder} has {name} = {saved.get(name)!r}, not {value!r}; load it with its own or fit again")
        parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "standardiser": {}, "bank": {}}
        for name, value in tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = value
        network = Network(params, torch.Generator()).requires_grad_(False)
        network.load_state_dict(parts["network"])
        standardiser = Standardiser(**{name: value.numpy() for name, value in parts["standardiser"].items()})
        detector = cls(params)
        detector._fitted = _Fitted(standardiser, network, NoiseBank(**parts["bank"]))
        return detector

    def _need_fit(self) -> _Fitted:
        if self._fitted is None:
            raise UsageError("janus is not fitted: call fit or load first")
        return self._fitted
