"""Registers the built-in protocols and metrics the way a third-party plugin would."""

from collections.abc import Iterable

from janus_bench.extensions import Metric, ProtocolSpec, hookimpl


@hookimpl
def janus_bench_protocols() -> Iterable[ProtocolSpec]:
    from protocols.catalogue import PROTOCOLS
    from protocols.studies import ABLATIONS

    return (*PROTOCOLS, *ABLATIONS)


@hookimpl
def janus_bench_metrics() -> Iterable[Metric]:
    from protocols.metrics import METRICS

    return METRICS
