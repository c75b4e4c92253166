"""Probes: detectors that write down which flows they were given, for what, and in which order.  They read the numbers
that ``tests/numbered.py`` has written into the sizes of packets, out of whichever input they declare."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from janus_bench import Capabilities, FitContext, FlowBatch, ProtocolSpec, hookimpl

IP_AND_UDP, ETHERNET = 28, 14


class _Probe:
    calibrations = 0

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        self._say("SEED", [ctx.seed, int(ctx.rng.integers(2**31))])
        self._tell("FIT", benign)
        self._tell("VALIDATION", ctx.validation)

    def calibrate(self, benign: FlowBatch) -> None:
        self.calibrations += 1
        self._tell("CALIBRATION", benign)

    def score(self, flows: FlowBatch) -> dict[str, np.ndarray]:
        self._tell("SCORE", flows)
        return {
            "number": self.numbers(flows).astype(np.float64),
            "calibrations": np.full(len(flows), float(self.calibrations)),
        }

    def _tell(self, what: str, flows: FlowBatch) -> None:
        self._say(what, self.numbers(flows))
        if flows.stream is not None:
            self._say(f"{what}-OTHERS", [int((flows.stream.flow < 0).sum())])

    @staticmethod
    def _say(what: str, numbers: Iterable[int]) -> None:
        print("GIVEN", what, *numbers)

    def numbers(self, flows: FlowBatch) -> np.ndarray:
        raise NotImplementedError


def _number(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    return ((there - 100) * 100 + back - 100).astype(np.int64)


def _declared(name: str) -> Capabilities:
    return Capabilities(
        inputs=frozenset({name}), scores=("number", "calibrations"), aggregator="column:number", calibrates=True
    )


class FeatureProbe(_Probe):
    capabilities = _declared("features")

    def numbers(self, flows: FlowBatch) -> np.ndarray:
        there, back = np.rint(np.expm1(flows.feature_matrix(["bytes_fwd", "bytes_bwd"]))).T
        return _number(there, back)


class SingleProbe(FeatureProbe):
    """The same with one score column, for a protocol without calibration flows for an aggregator."""

    capabilities = Capabilities(inputs=frozenset({"features"}), scores=("number",), calibrates=True)

    def score(self, flows: FlowBatch) -> dict[str, np.ndarray]:
        return {"number": super().score(flows)["number"]}


class PacketProbe(_Probe):
    capabilities = _declared("packets")

    def numbers(self, flows: FlowBatch) -> np.ndarray:
        dense, _ = flows.padded(2)
        return _number(dense[:, 0, 0], dense[:, 1, 0])


class CicProbe(_Probe):
    capabilities = _declared("cic_features")

    def numbers(self, flows: FlowBatch) -> np.ndarray:
        there, back = flows.feature_matrix(["Total Length of Fwd Packets", "Total Length of Bwd Packets"]).T
        return _number(there + IP_AND_UDP, back + IP_AND_UDP)


class StreamProbe(_Probe):
    capabilities = _declared("stream")

    def numbers(self, flows: FlowBatch) -> np.ndarray:
        stream = flows.packet_stream()
        mine = np.flatnonzero(stream.flow >= 0)
        mine = mine[np.argsort(stream.flow[mine], kind="stable")]
        sizes = stream.size[mine].astype(np.int64).reshape(len(flows), 2) - ETHERNET
        return _number(sizes[:, 0], sizes[:, 1])


def _pairs(datasets: Iterable[str]) -> list[tuple[str, str]]:
    names = list(datasets)
    return [(source, target) for source in names for target in names]


@hookimpl
def janus_bench_protocols() -> Iterable[ProtocolSpec]:
    return (
        ProtocolSpec("p-source-benign", "Calibrated on the source.", _pairs, calibration="source_benign"),
        ProtocolSpec("p-uncalibrated", "Not calibrated.", _pairs, regimes=("transfer",), calibration="none"),
    )
