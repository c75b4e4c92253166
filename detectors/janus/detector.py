"""JANUS behind the detector contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.janus.config import JanusParams, default_aggregator, score_columns
from detectors.janus.preprocess import Sequences, Standardiser
from janus_bench.columns import CONTEXT_FEATURES
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch

    from detectors.janus.matching import FlowPath
    from detectors.janus.model import Network
    from detectors.janus.scoring import NoiseBank

CHUNK = 50_000  # Flows that are standardised and scored at a time, to bound memory on large captures.

PARAMS_FILE = "janus.json"
TENSORS_FILE = "janus.safetensors"


def _declared(params: JanusParams) -> Capabilities:
    context = not set(params.flow_columns).isdisjoint(CONTEXT_FEATURES)
    reads = (
        ("packets", params.T > 0),
        ("features", params.use_flow_token),
        ("context", params.use_flow_token and context),
    )
    return Capabilities(
        inputs=frozenset(name for name, read in reads if read),
        scores=score_columns(params),
        aggregator=default_aggregator(params),
        provenance="our reading",
        source=(
            "JANUS project README; OT-CFM (Tong et al., TMLR 2024), discrete flow matching (Gat et al., NeurIPS 2024)"
        ),
        groups=frozenset({"flow-matching"}),
        version="2",
    )


@dataclass(frozen=True)
class _Fitted:
    """What scoring needs.  ``bit_network``: of heads trained apart."""

    standardiser: Standardiser
    path: FlowPath
    network: Network
    bit_network: Network | None
    bank: NoiseBank

    def sequences(self, flows: FlowBatch, params: JanusParams) -> Sequences:
        """``flows`` as the network reads them."""
        return self.path.prepared(self.standardiser.apply(flows, params))

    def parts(self) -> dict[str, Mapping[str, Any]]:
        """Part of a file's tensor names → its arrays and tensors by name."""
        bit_network = {} if self.bit_network is None else self.bit_network.state_dict()
        networks = {"network": self.network.state_dict(), "bit_network": bit_network}
        return networks | {
            "standardiser": vars(self.standardiser),
            "binning": self.path.arrays(),
            "bank": vars(self.bank),
        }


class Janus:
    """JANUS: one packet-causal Transformer with a continuous and a discrete flow-matching head, trained on benign flows
    only.

    ``score`` returns twenty columns: the project's ten, six more of the mechanism study, curvature and arc length.  The
    harness's aggregator (Mahalanobis with the OAS covariance, fitted on the target's benign calibration scores) makes
    the scalar from the ten.  The total NLL is the mean of six others, so the covariance of the ten has rank 9.
    Variants have fewer columns, see ``declare``.

    Source: the JANUS project's README for architecture, hyper-parameters and score names; formulas are our reading.
    """

    capabilities: ClassVar[Capabilities] = _declared(JanusParams())
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

    @classmethod
    def declare(cls, params: JanusParams) -> Capabilities:
        """The inputs, the score columns and the default aggregator that ``params`` give: what a variant lacks has no
        column."""
        return _declared(params)

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Train on ``benign``; raises UsageError when it is empty, or the precision not one of the device.

        Everything random comes from ``ctx.seed``: initial weights, batches, noise, and the noise bank of scoring.
        """
        import torch

        from detectors.janus.binned import path_of, train_apart
        from detectors.janus.matching import train
        from detectors.janus.scoring import NoiseBank

        if len(benign) == 0:
            raise UsageError("janus: there are no benign training flows; it needs at least one")
        self._set_precision(ctx.device)
        torch.set_num_threads(ctx.threads)
        seeds = np.random.SeedSequence(ctx.seed).generate_state(3, np.uint32)
        training, banking, bit_training = (torch.Generator().manual_seed(int(seed)) for seed in seeds)
        params, device = self.params, torch.device(ctx.device)
        standardiser = Standardiser.fitted(benign, params)
        data, validation = (standardiser.apply(flows, params) for flows in (benign, ctx.validation))
        path = path_of(params, data)
        data, validation = path.prepared(data), path.prepared(validation)
        if params.joint:
            network, bit_network = train(data, validation, params, path, training, device, ctx.progress), None
        else:
            network, bit_network = train_apart(data, validation, params, (training, bit_training), device, ctx.progress)
        self._fitted = _Fitted(standardiser, path, network, bit_network, NoiseBank.drawn(params, path, banking))

    def score(self, flows: FlowBatch) -> dict[str, NDArray[np.float64]]:
        """The columns of ``declare(params).scores``, each (n,) float64; higher = more anomalous in those of the default
        aggregator.

        A flow's scores depend on that flow alone, up to rounding.  Raises UsageError before ``fit`` or ``load``.
        """
        from detectors.janus.scoring import score_sequences

        fitted, names = self._need_fit(), score_columns(self.params)
        chunks = [np.empty((0, len(names)))]
        for start in range(0, len(flows), CHUNK):
            chunk = flows if len(flows) <= CHUNK else flows.take(slice(start, start + CHUNK))
            data = fitted.sequences(chunk, self.params)
            chunks.append(
                score_sequences(fitted.network, data, fitted.bank, self.params, bit_network=fitted.bit_network)
            )
        table = np.concatenate(chunks)
        return {name: np.ascontiguousarray(table[:, column]) for column, name in enumerate(names)}

    def explain(self, flows: FlowBatch) -> list[str]:
        """The packet and channel of each flow that were least expected, in words; nothing where packets are not
        read, or their continuous channels are binned."""
        from detectors.janus.explain import least_expected, packet_surprise

        fitted = self._need_fit()
        if self.params.T == 0 or self.params.cont_as_disc:
            return [""] * len(flows)
        data = fitted.sequences(flows, self.params)
        nats = packet_surprise(fitted.network, data, fitted.bank, self.params, fitted.bit_network)
        return least_expected(nats, data.lengths)

    @property
    def network(self) -> Network:
        """The trained one; raises UsageError before ``fit`` or ``load``."""
        return self._need_fit().network

    def read(self, flows: FlowBatch) -> tuple[Network, Sequences]:
        """The trained network, and ``flows`` as it reads them; raises UsageError before ``fit`` or ``load``."""
        fitted = self._need_fit()
        return fitted.network, fitted.sequences(flows, self.params)

    def save(self, folder: Path) -> None:
        """Write ``janus.json`` (parameters) and ``janus.safetensors`` (weights, statistics, bins, noise bank) to
        ``folder``, which is created."""
        import torch
        from safetensors.torch import save_file

        fitted = self._need_fit()
        tensors = {
            f"{part}.{name}": torch.as_tensor(value)
            for part, values in fitted.parts().items()
            for name, value in values.items()
        }
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()},
            folder / TENSORS_FILE,
        )
        document = {"version": self.capabilities.version, "detector": self.params.name, "params": asdict(self.params)}
        (folder / PARAMS_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, params: JanusParams) -> Janus:
        """A detector ready to score, on the CPU; raises DataError when ``folder`` holds no model, a damaged one, or one
        of other parameters."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from detectors.janus.binned import restored_path
        from detectors.janus.scoring import NoiseBank

        try:
            document = json.loads((folder / PARAMS_FILE).read_text(encoding="utf-8"))
            saved = {"detector": params.name, **document, **document["params"]}
            tensors = load_file(folder / TENSORS_FILE)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise DataError(
                f"janus: no readable model in {folder} ({type(error).__name__}: {error}); fit again"
            ) from None
        for name, value in {"version": cls.capabilities.version, "detector": params.name, **asdict(params)}.items():
            if saved.get(name) != value:
                raise DataError(
                    f"janus: the model in {folder} has {name} = {saved.get(name)!r}, not {value!r}; load it "
                    "with its own or fit again"
                )
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            part, _, key = name.partition(".")
            parts.setdefault(part, {})[key] = value
        detector = cls(params)
        detector._fitted = _Fitted(
            standardiser=Standardiser(**{name: value.numpy() for name, value in parts["standardiser"].items()}),
            path=restored_path(params, {name: value.numpy() for name, value in parts.get("binning", {}).items()}),
            network=_network(params, parts["network"]),
            bit_network=_network(params, parts["bit_network"]) if "bit_network" in parts else None,
            bank=NoiseBank(**parts["bank"]),
        )
        return detector

    def _set_precision(self, device: str) -> None:
        import torch

        if device == "cpu" and self.params.precision != "fp32":
            raise UsageError(f"janus: precision={self.params.precision} needs --device cuda; on the CPU it is fp32")
        # The process serves one fit, so its setting is the fit's.
        torch.set_float32_matmul_precision("high" if self.params.precision == "tf32" else "highest")

    def _need_fit(self) -> _Fitted:
        if self._fitted is None:
            raise UsageError("janus is not fitted: call fit or load first")
        return self._fitted


def _network(params: JanusParams, state: Mapping[str, torch.Tensor]) -> Network:
    """The network that ``state`` belongs to, for scoring."""
    import torch

    from detectors.janus.model import Network

    network = Network(params, torch.Generator()).requires_grad_(False)
    network.load_state_dict(state)
    return network
