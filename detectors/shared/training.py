"""Mini-batch training that the networks on plain matrices share: shuffled batches, optional early stopping on benign
validation flows."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from janus_bench.contract import FitContext


@dataclass(frozen=True)
class Schedule:
    """``patience``: epochs without a better validation loss after which training stops (where there is a validation
    loss)."""

    epochs: int
    batch: int
    lr: float
    patience: int = 0
    optimiser: Literal["adam", "sgd"] = "adam"


_OPTIMISERS: Mapping[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


@contextmanager
def seeded_initialisation(seed: int) -> Iterator[None]:
    """torch initialises weights from the CPU's global generator: seed it for the block and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed would seed every device
        yield


def train(
    network: nn.Module,
    data: NDArray[np.float32],
    loss: Callable[[Tensor, torch.Generator], Tensor],
    schedule: Schedule,
    ctx: FitContext,
    validate: Callable[[], float] | None = None,
) -> None:
    """Minimise ``loss`` (batch (B, D) on the context's device, CPU generator → ()) over ``data`` (n, D), in place.

    With ``validate`` (→ validation loss) the weights of the best epoch are kept.  FloatingPointError if the loss is not
    finite.
    """
    rows = torch.from_numpy(data)  # (n, D) stays on the CPU: packets of a large training set need not fit on the device
    generator = torch.Generator().manual_seed(ctx.seed)
    optimiser: Any = _OPTIMISERS[schedule.optimiser](network.parameters(), lr=schedule.lr)  # type: ignore[call-arg]
    best, best_epoch, best_weights = math.inf, 0, None
    for epoch in range(1, schedule.epochs + 1):
        network.train()
        total = 0.0
        for chosen in torch.randperm(len(rows), generator=generator).split(schedule.batch):
            optimiser.zero_grad()
            value = loss(rows[chosen].to(ctx.device), generator)
            value.backward()
            optimiser.step()
            total += float(value.detach()) * len(chosen)
        if not math.isfinite(total):
            raise FloatingPointError(f"the loss is not finite in epoch {epoch}; lower lr (now {schedule.lr:g})")
        network.eval()
        text = f"epoch {epoch}/{schedule.epochs}, loss {total / len(rows):.4f}"
        if validate is not None:
            current = validate()
            text += f", validation {current:.4f}"
            if current < best:
                best, best_epoch = current, epoch
                best_weights = {name: weight.clone() for name, weight in network.state_dict().items()}
        ctx.progress(epoch / schedule.epochs, text)
        if validate is not None and epoch - best_epoch >= schedule.patience:
            break
    if best_weights is not None:
        network.load_state_dict(best_weights)
