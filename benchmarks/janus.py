"""JANUS: flows grouped by length against flows padded to 64 packets, in scoring and in a training step; share of the
GEMM peak; flows/s by K.

    python benchmarks/janus.py [--threads 1] [--repeats 3] [--profile quick] [--device cuda --precision bf16]

Lengths are those of the benign flows of the shared captures' label files when they are there (``../shared/data``),
otherwise drawn from a log-normal of like median and tail; contents are random, which costs the same.  Both variants and
a plain matrix product are timed in turns in one run, on the CPU in seconds of the processor (of all threads together),
so that other work on the machine counts little; the ratio of the best times is printed.  The bound of the ratio is 65 /
(mean tokens of a flow).  On a GPU the peak is that of a product in bfloat16 and large enough to fill it, more flows are
scored, and the most memory that torch held is printed.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from detectors.janus import Janus, JanusParams
from detectors.janus.binned import restored_path
from detectors.janus.config import PRECISIONS, score_columns
from detectors.janus.matching import accumulate_gradient, noisy_batch
from detectors.janus.model import Network
from detectors.janus.packing import MAX_TOKENS, Group, group_by_length
from detectors.janus.preprocess import Sequences
from detectors.janus.scoring import NLL_TIMES, NoiseBank, score_sequences

DOMAINS = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "domains"
FLOWS = {"cpu": 1024, "cuda": 65_536}  # enough to time


def benign_lengths(limit: int) -> tuple[NDArray[np.int64], str]:
    """Packets per flow, at most ``limit``, and where they come from."""
    files = sorted(DOMAINS.glob("*/labels.csv"))
    if not files:
        drawn = np.exp(np.random.default_rng(0).normal(1.6, 1.1, 20_000))
        return np.clip(drawn, 1, limit).astype(np.int64), "log-normal draws (no shared captures here)"
    lengths = []
    for file in files:
        with file.open(encoding="utf-8", newline="") as lines:
            lengths += [int(row["n_packets"]) for row in csv.DictReader(lines) if row["label"] == "benign"]
    return np.minimum(lengths, limit).astype(np.int64), f"benign flows of {len(files)} label files"


def random_flows(lengths: NDArray[np.int64]) -> Sequences:
    rng = np.random.default_rng(0)
    total = int(lengths.sum())
    packets = np.concatenate([rng.normal(size=(total, 3)), rng.integers(0, 2, (total, 6))], axis=1).astype(np.float32)
    return Sequences(
        rng.normal(size=(len(lengths), 20)).astype(np.float32), packets, np.cumsum(lengths) - lengths, lengths
    )


def padded(flows: int, width: int) -> list[Group]:
    """All flows as ``width`` packets, in rectangles of the usual size."""
    per_group = max(MAX_TOKENS // (width + 1), 1)
    return [Group(rows, width) for rows in np.split(np.arange(flows), range(per_group, flows, per_group))]


def in_turns(*works: Callable[[], object], repeats: int) -> list[float]:
    """Best seconds of each, after one warm-up: the processor's, or where there is a GPU the clock's, until it has
    finished."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    best = [float("inf")] * len(works)
    for repeat in range(repeats + 1):
        for index, work in enumerate(works):
            start = clock()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat:
                best[index] = min(best[index], clock() - start)
    return best


def square_product(device: str) -> tuple[Callable[[], object], int]:
    """What the machine can do at best: a product of matrices that fit the processor's cache, or fill a GPU; and its
    operations."""
    size, dtype = (1024, torch.float32) if device == "cpu" else (8192, torch.bfloat16)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return lambda: torch.mm(left, right), 2 * size**3


def forward_flop(params: JanusParams, lengths: NDArray[np.int64]) -> int:
    """Multiplications and additions of one pass over real tokens: linear layers, and attention of every token to every
    one of its flow."""
    tokens = lengths + 1
    linear = params.n_layers * (2 * 12 * params.d_model**2) * int(tokens.sum())
    ends = 2 * 2 * params.d_model * (20 * len(lengths) + 9 * int(lengths.sum()))
    return linear + ends + params.n_layers * 4 * params.d_model * int((tokens**2).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", choices=list(Janus.profiles), default="quick")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: there is no GPU here")
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high" if options.precision == "tf32" else "highest")

    params = replace(JanusParams(**Janus.profiles[options.profile]), precision=options.precision)
    flows = FLOWS[options.device]
    pool, source = benign_lengths(params.T)
    lengths = np.random.default_rng(1).choice(pool, flows)
    data = random_flows(lengths)
    generator = torch.Generator().manual_seed(0)
    network = Network(params, generator).to(options.device)
    path = restored_path(params, {})
    bank = NoiseBank.drawn(params, path, generator)
    batch = noisy_batch(data, np.arange(params.batch), params, path, generator).each(
        lambda tensor: tensor.to(options.device)
    )
    gemm, gemm_flop = square_product(options.device)

    weights = sum(parameter.numel() for parameter in network.parameters())
    where = f"{options.threads} thread(s)" if options.device == "cpu" else torch.cuda.get_device_name()
    print(f"{options.profile}: {weights:,} parameters, {where}, {options.precision}, torch {torch.__version__}")
    print(
        f"lengths: {source}; mean {lengths.mean():.1f}, median {np.median(lengths):.0f}, "
        f"{np.mean(lengths == params.T):.1%} at {params.T}"
    )
    tokens = sum(group.tokens for group in group_by_length(lengths))
    real = int(lengths.sum()) + flows
    print(f"tokens: {real} real, {tokens} grouped ({tokens / real - 1:.1%} padding), {flows * (params.T + 1)} padded")

    bound = (params.T + 1) * flows / real
    fast, slow, product = in_turns(
        lambda: score_sequences(network, data, bank, params),
        lambda: score_sequences(network, data, bank, params, padded(flows, params.T)),
        gemm,
        repeats=options.repeats,
    )
    peak = gemm_flop / product
    passes = len(NLL_TIMES) + params.k_steps
    work = forward_flop(params, lengths) * passes
    print(f"GEMM peak of this machine: {peak / 1e9:.0f} GFLOP/s")
    print(f"scoring:  grouped {flows / fast:,.0f} flows/s, padded {flows / slow:,.0f} flows/s")
    speed = work / fast
    print(
        f"          ratio {slow / fast:.1f}, {slow / fast / bound:.2f} of its bound; {speed / 1e9:.0f} "
        f"GFLOP/s, {speed / peak:.0%} of the peak"
    )
    fast, slow, product = in_turns(
        lambda: accumulate_gradient(network, batch, path),
        lambda: accumulate_gradient(network, batch, path, padded(params.batch, params.T)),
        gemm,
        repeats=options.repeats,
    )
    bound = (params.T + 1) * params.batch / (int(batch.lengths.sum()) + params.batch)
    work = 3 * forward_flop(params, batch.lengths)  # the backward pass makes two products for each of the forward pass
    share = work / fast * product / gemm_flop
    print(f"training: grouped {1e3 * fast:.0f} ms, padded {1e3 * slow:.0f} ms for the gradient of {params.batch} flows")
    print(
        f"          ratio {slow / fast:.1f}, {slow / fast / bound:.2f} of its bound; {work / fast / 1e9:.0f} "
        f"GFLOP/s, {share:.0%} of the peak"
    )
    (draw,) = in_turns(
        lambda: noisy_batch(data, np.arange(params.batch), params, path, generator), repeats=options.repeats
    )
    print(f"          drawing and coupling such a batch: {1e3 * draw:.1f} ms ({params.coupling})")
    for steps in (1, 4, 16):
        chosen = replace(params, k_steps=steps)
        few = NoiseBank.drawn(chosen, path, torch.Generator().manual_seed(1))
        (seconds,) = in_turns(partial(score_sequences, network, data, few, chosen), repeats=options.repeats)
        print(f"K = {steps:2}:   {flows / seconds:,.0f} flows/s, {len(score_columns(chosen))} columns")
    if options.device == "cuda":
        print(f"memory:   {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB at most")


if __name__ == "__main__":
    main()
