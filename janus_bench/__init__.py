"""The public face: what a plugin author or a notebook imports.  Every name is loaded when it is first asked for.

Nothing here imports anything at once, so that a command that needs neither numpy nor a contract starts without them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # each as itself, or `mypy --strict` takes none of them for exported
    from harness.api import datasets as datasets, fit as fit, run as run, score as score
    from janus_bench.columns import (
        CIC_FEATURES as CIC_FEATURES,
        CONTINUOUS_CHANNELS as CONTINUOUS_CHANNELS,
        DISCRETE_CHANNELS as DISCRETE_CHANNELS,
        FLOW_FEATURES as FLOW_FEATURES,
        MAX_PACKETS as MAX_PACKETS,
        PACKET_CHANNELS as PACKET_CHANNELS,
    )
    from janus_bench.contract import (
        Capabilities as Capabilities,
        Detector as Detector,
        FitContext as FitContext,
        FlowBatch as FlowBatch,
        PacketStream as PacketStream,
    )
    from janus_bench.errors import (
        DataError as DataError,
        InvalidScores as InvalidScores,
        JanusBenchError as JanusBenchError,
        PluginError as PluginError,
        UndeclaredInput as UndeclaredInput,
        UsageError as UsageError,
    )
    from janus_bench.extensions import (
        Dataset as Dataset,
        Metric as Metric,
        ProtocolSpec as ProtocolSpec,
        Renderer as Renderer,
        TestScores as TestScores,
        Variant as Variant,
        hookimpl as hookimpl,
    )
    from reports.notebook import open_results as open_results

_HOME = {
    "janus_bench.columns": (
        *(
            "CIC_FEATURES",
            "CONTINUOUS_CHANNELS",
            "DISCRETE_CHANNELS",
            "FLOW_FEATURES",
            "MAX_PACKETS",
            "PACKET_CHANNELS",
        ),
    ),
    "janus_bench.contract": ("Capabilities", "Detector", "FitContext", "FlowBatch", "PacketStream"),
    "janus_bench.errors": (
        "DataError",
        "InvalidScores",
        "JanusBenchError",
        "PluginError",
        "UndeclaredInput",
        "UsageError",
    ),
    "janus_bench.extensions": ("Dataset", "Metric", "ProtocolSpec", "Renderer", "TestScores", "Variant", "hookimpl"),
    "reports.notebook": ("open_results",),
    "harness.api": ("datasets", "fit", "run", "score"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'janus_bench' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
