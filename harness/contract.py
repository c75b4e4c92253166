"""Where the contract was until version 0.1: a plugin that imports this still works, and is told where it is now."""
# ruff: noqa: F401  a plugin takes these names from here

import warnings

from janus_bench.columns import (
    CIC_FEATURES,
    CONTINUOUS_CHANNELS,
    DISCRETE_CHANNELS,
    FLOW_FEATURES,
    INPUTS,
    MAX_PACKETS,
    PACKET_CHANNELS,
)
from janus_bench.contract import Capabilities, Detector, FitContext, FlowBatch, PacketStream, validate_scores
from janus_bench.errors import DataError, InvalidScores, JanusBenchError, PluginError, UndeclaredInput, UsageError

warnings.warn("harness.contract has moved: import from janus_bench instead", FutureWarning, stacklevel=2)
