"""Mini-batch training that the networks share: shuffled batches, one optimiser or several that take turns, optional
early stopping on benign validation flows."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from janus_bench.contract import FitContext

Optimiser = Literal["adam", "adamw", "sgd"]
_OPTIMISERS: Mapping[Optimiser, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


@dataclass(frozen=True)
class Schedule:
    """How long, in what batches and by which optimiser.

    patience   epochs without a better validation loss after which training stops (where there is a validation loss)
    betas      of Adam;  ``momentum``: of SGD
    lr_factor  epoch, counted from 0 → what ``lr`` is multiplied by (``cosine``, ``warm_up``)
    clip       largest norm of the gradient of one phase; None: any
    drop_last  leave out the smaller last batch of an epoch, unless it is the only one: batch normalisation needs it
    """

    epochs: int
    batch: int
    lr: float
    patience: int = 0
    optimiser: Optimiser = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.0
    weight_decay: float = 0.0
    lr_factor: Callable[[int], float] = lambda _: 1.0
    clip: float | None = None
    drop_last: bool = False

    def new_optimiser(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        """Of parameters, or of groups with settings of their own as torch takes them."""
        own: Any = {"momentum": self.momentum} if self.optimiser == "sgd" else {"betas": self.betas}
        make: Any = _OPTIMISERS[self.optimiser]
        return make(parameters, lr=self.lr, weight_decay=self.weight_decay, **own)


@dataclass(frozen=True)
class Phase:
    """What one of several optimisers does: in every ``every``-th batch it lowers ``loss`` in ``parameters``.

    ``loss``: batch (B, D) on the context's device, the batch's row numbers (B,), CPU generator → ().
    """

    parameters: Iterable[Any]
    loss: Callable[[Tensor, Tensor, torch.Generator], Tensor]
    every: int = 1


def cosine(epochs: int) -> Callable[[int], float]:
    """The rate falls to 0 along half a cosine (Loshchilov & Hutter, 2017)."""
    return lambda epoch: (1 + math.cos(math.pi * epoch / epochs)) / 2


def warm_up(epochs: int) -> Callable[[int], float]:
    """The rate rises in equal steps to its full value in epoch ``epochs``."""
    return lambda epoch: min(1.0, (epoch + 1) / max(epochs, 1))


def stepped(*epochs: int) -> Callable[[int], float]:
    """A tenth of the rate from each of these epochs on."""
    return lambda epoch: 0.1 ** sum(epoch >= at for at in epochs)


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
    """``train_phases`` of one network and one loss (batch (B, D) on the context's device, CPU generator → ())."""
    phase = Phase(network.parameters(), lambda rows, _, generator: loss(rows, generator))
    train_phases([network], data, [phase], schedule, ctx, validate)


def train_phases(
    networks: Sequence[nn.Module],
    data: NDArray[np.float32],
    phases: Sequence[Phase],
    schedule: Schedule,
    ctx: FitContext,
    validate: Callable[[], float] | None = None,
) -> None:
    """Lower the losses of ``phases``, one after the other in each batch of ``data`` (n, D), in place.

    With ``validate`` (→ validation loss) the weights that all ``networks`` had after the best epoch are kept.  Dropout
    draws from torch's global generator, which is seeded meanwhile and left as it was.  FloatingPointError if a loss is
    not finite.
    """
    with seeded_initialisation(ctx.seed):
        _train_phases(networks, data, phases, schedule, ctx, validate)


def _train_phases(
    networks: Sequence[nn.Module],
    data: NDArray[np.float32],
    phases: Sequence[Phase],
    schedule: Schedule,
    ctx: FitContext,
    validate: Callable[[], float] | None,
) -> None:
    rows = torch.from_numpy(data)  # (n, D) stays on the CPU: packets of a large training set need not fit on the device
    generator = torch.Generator().manual_seed(ctx.seed)
    optimisers = [schedule.new_optimiser(phase.parameters) for phase in phases]
    rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in optimisers]
    best, best_epoch, best_weights = math.inf, 0, None
    step = 0
    for epoch in range(1, schedule.epochs + 1):
        for network in networks:
            network.train()
        for optimiser, initial in zip(optimisers, rates, strict=True):
            for group, rate in zip(optimiser.param_groups, initial, strict=True):
                group["lr"] = rate * schedule.lr_factor(epoch - 1)
        totals, counts = [0.0] * len(phases), [0] * len(phases)
        for chosen in _batches(len(rows), schedule, generator):
            batch = rows[chosen].to(ctx.device)
            for i, (phase, optimiser) in enumerate(zip(phases, optimisers, strict=True)):
                if step % phase.every:
                    continue
                optimiser.zero_grad()
                value = phase.loss(batch, chosen, generator)
                value.backward()
                if schedule.clip is not None:
                    grouped = (weight for group in optimiser.param_groups for weight in group["params"])
                    nn.utils.clip_grad_norm_(grouped, schedule.clip)
                optimiser.step()
                totals[i] += float(value.detach()) * len(chosen)
                counts[i] += len(chosen)
            step += 1
        if not all(map(math.isfinite, totals)):
            raise FloatingPointError(f"the loss is not finite in epoch {epoch}; lower lr (now {schedule.lr:g})")
        for network in networks:
            network.eval()
        losses = (f"{total / count:.4f}" for total, count in zip(totals, counts, strict=True) if count)
        text = f"epoch {epoch}/{schedule.epochs}, loss {' and '.join(losses)}"
        if validate is not None:
            current = validate()
            text += f", validation {current:.4f}"
            if current < best:
                best, best_epoch = current, epoch
                best_weights = [
                    {name: weight.clone() for name, weight in network.state_dict().items()} for network in networks
                ]
        ctx.progress(epoch / schedule.epochs, text)
        if validate is not None and epoch - best_epoch >= schedule.patience:
            break
    if best_weights is not None:
        for network, weights in zip(networks, best_weights, strict=True):
            network.load_state_dict(weights)


def _batches(n: int, schedule: Schedule, generator: torch.Generator) -> Sequence[Tensor]:
    """Row numbers of the batches of one epoch."""
    batches = torch.randperm(n, generator=generator).split(schedule.batch)
    return batches[:-1] if schedule.drop_last and len(batches) > 1 and len(batches[-1]) < schedule.batch else batches
