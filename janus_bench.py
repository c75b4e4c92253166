"""The public face: what a plugin author or a notebook imports.  Re-exports, nothing else."""

from harness.contract import (
    CIC_FEATURES,
    CONTINUOUS_CHANNELS,
    DISCRETE_CHANNELS,
    FLOW_FEATURES,
    MAX_PACKETS,
    PACKET_CHANNELS,
    Capabilities,
    Detector,
    FitContext,
    FlowBatch,
    JanusBenchError,
)
from harness.extensions import Dataset, Metric, ProtocolSpec, Renderer, TestScores, Variant, hookimpl

__all__ = [
    "CIC_FEATURES",
    "CONTINUOUS_CHANNELS",
    "DISCRETE_CHANNELS",
    "FLOW_FEATURES",
    "MAX_PACKETS",
    "PACKET_CHANNELS",
    "Capabilities",
    "Dataset",
    "Detector",
    "FitContext",
    "FlowBatch",
    "JanusBenchError",
    "Metric",
    "ProtocolSpec",
    "Renderer",
    "TestScores",
    "Variant",
    "hookimpl",
]
