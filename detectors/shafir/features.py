"""The feature sets that Shafir NF has been run on, by their CICFlowMeter names."""

from collections.abc import Mapping
from typing import Literal

from janus_bench.columns import CIC_FEATURES, FLOW_FEATURES

FeatureSet = Literal["released", "published", "tor", "cic", "flow"]

FEATURE_SETS: Mapping[FeatureSet, tuple[str, ...]] = {
    "released": (
        "Packet Length Mean",
        "Flow IAT Max",
        "PSH Flag Count",
        "ACK Flag Count",
        "Fwd IAT Max",
        "Fwd Packets/s",
    ),
    "published": (
        "Bwd Packet Length Mean",
        "Fwd Packets/s",
        "ACK Flag Count",
        "Total Length of Bwd Packets",
        "Flow Duration",
    ),
    "tor": ("Bwd IAT Std", "Active Mean"),
    "cic": CIC_FEATURES,
    "flow": FLOW_FEATURES,
}
"""``released``: the authors' script; ``published``: the paper's subset for CIC-IDS2017; ``tor``: its single flow for
ISCXTor2016; ``cic``: all 77 of CICFlowMeter; ``flow``: our 20, log-scaled and of the first 64 packets, where the others
are raw and of the whole flow."""


def inputs_of(*sets: str) -> frozenset[str]:
    """What a detector on these sets has to declare."""
    return frozenset("features" if name == "flow" else "cic_features" for name in sets)
