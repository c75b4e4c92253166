"""What makes packets a flow."""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from janus_bench.errors import UsageError

TCP_CLOSE = ("idle", "cicflowmeter")
NEVER = (1 << 63) - 1


class CompiledRules(NamedTuple):
    """``FlowRules`` as the kernels take them: times in ns."""

    idle: int
    active: int
    close_on_fin: bool
    remove_mirrored: bool


@dataclass(frozen=True)
class FlowRules:
    """How the packets of one 5-tuple are divided into flows; UsageError for a value that makes no sense.

    idle_timeout_s    a longer gap ends a flow
    active_timeout_s  a packet longer than this after the flow's first starts a new one; None: no limit
    tcp_close         "idle": timeouts alone end a flow.  "cicflowmeter": the first FIN after a flow's first packet is
                      its last packet, and RST ends nothing, as in the CICFlowMeter that made the published CSVs; its
                      flow timeout counts from the first packet: it is ``active_timeout_s=120``.
    remove_mirrored   leave out the second of two copies of a packet (see ``kernels.MIRROR_WINDOW``); they are counted
                      in any case
    """

    idle_timeout_s: float = 120.0
    active_timeout_s: float | None = None
    tcp_close: str = "idle"
    remove_mirrored: bool = False

    def __post_init__(self) -> None:
        for name, value in (("idle timeout", self.idle_timeout_s), ("active timeout", self.active_timeout_s)):
            if value is not None and not (math.isfinite(value) and 0 < value < 1e9):
                raise UsageError(f"{name} {value}: must be a number of seconds above 0")
        if self.tcp_close not in TCP_CLOSE:
            raise UsageError(f"TCP close rule {self.tcp_close!r}: choose one of {', '.join(TCP_CLOSE)}")

    def compiled(self) -> CompiledRules:
        active = NEVER if self.active_timeout_s is None else round(self.active_timeout_s * 1e9)
        return CompiledRules(
            round(self.idle_timeout_s * 1e9), active, self.tcp_close == "cicflowmeter", self.remove_mirrored
        )

    def described(self) -> dict[str, Any]:
        return asdict(self)
