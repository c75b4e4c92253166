"""JANUS on a GPU, in one script of a few minutes: does it compute what the CPU does, how fast, and what would the
published datasets cost.

    python -m benchmarks.gpu

differences   scores of one checkpoint, GPU against CPU, in fp32: at most 1e-3 of a score's spread; and how far tf32 and
              bf16 move the AUROC of the aggregate and of the project's ten columns: at most .002
throughput    scoring and training of ``quick`` and ``paper`` by precision, as a share of the peak of a product in
              bfloat16, with the most memory that torch held
costs         hours of one GPU for the flows of a published dataset, from the throughput just measured

Ends with exit code 1 where a difference is beyond its gate.  Without a GPU it says so, checks that its own steps run
on the CPU with few flows, and ends with 0.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.janus import benign_lengths, forward_flop, in_turns, random_flows, square_product
from datasets_registry.registry import load_datasets, synthetic_suite
from detectors.janus import Janus, JanusParams
from detectors.janus.binned import restored_path
from detectors.janus.config import Precision
from detectors.janus.matching import accumulate_gradient, noisy_batch
from detectors.janus.model import Network
from detectors.janus.scoring import NLL_TIMES, NoiseBank, score_sequences
from janus_bench.contract import FitContext, FlowBatch
from protocols.aggregators import fit_aggregator
from protocols.metrics import auroc
from protocols.splits import Draw

SAME, MOVED = 1e-3, 0.002
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
FLOWS = {"cpu": 64, "cuda": 65_536}
REPEATS = 5
EPOCHS = {"cpu": 1, "cuda": 6}
PUBLISHED = {
    "CIC-IDS2017": 2_830_743,
    "CIC-IDS2017, corrected labels": 2_099_976,
    "CIC-DDoS2019": 70_427_637,
    "CICIoT2023": 46_686_579,
    "ISCXTor2016": 67_834,
}
"""Rows of the published tables: about as many flows are scored, whole, by ``paper``."""
SCORED = 6
"""Times that a seed of a 4 × 4 matrix scores a target: from four sources, and for its controls of two σ."""


def use(network: Network, precision: Precision) -> None:
    """What ``precision`` sets for a fit (``Janus.fit``), set on a network that is there."""
    network.precision = precision
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def flows_of_the_suite() -> dict[str, FlowBatch]:
    """Parts of one synthetic site, and which of its test flows are attacks is their order: benign ones first."""
    name = synthetic_suite()[0]
    dataset = load_datasets([name], lambda *_: None)[name]
    parts = dataset.partition(Draw(101, "grouped", "quick")).parts

    def take(rows: NDArray[np.int64]) -> FlowBatch:
        return dataset.store.take(rows, np.zeros(len(rows), np.uint64), frozenset({"packets", "features"}))

    return {part: take(parts[part]) for part in ("train", "val", "cal_a", "test_benign", "test_attack")}


def differences(device: str) -> bool:
    """Print them; whether all are within their gates."""
    flows, seed = flows_of_the_suite(), 101
    few = {part: batch.take(slice(0, FLOWS[device])) for part, batch in flows.items()}
    detector = Janus(JanusParams(**{**Janus.profiles["quick"], "epochs": EPOCHS[device]}))
    with tempfile.TemporaryDirectory() as scratch:
        context = FitContext(few["val"], seed, np.random.default_rng(seed), "cpu", Path(scratch))
        detector.fit(few["train"], context)
    network = detector.network
    columns = Janus.capabilities.scores

    def scored() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores (n, columns) of the test flows, and the AUROCs of the aggregate and of the project's ten columns."""
        tables = {
            part: np.column_stack(list(detector.score(few[part]).values()))
            for part in ("cal_a", "test_benign", "test_attack")
        }
        assert Janus.capabilities.aggregator is not None
        aggregate = fit_aggregator(Janus.capabilities.aggregator, tables["cal_a"], columns)
        tested = np.concatenate([tables["test_benign"], tables["test_attack"]])
        attack = np.arange(len(tested)) >= len(tables["test_benign"])
        areas = [auroc(scalar, attack) for scalar in (aggregate(tested), *tested.T[:10])]
        return tested, np.array(areas, dtype=np.float64)

    reference, areas = scored()
    spread = reference.std(axis=0)
    network.to(device)
    within = True
    for precision in PRECISIONS if device == "cuda" else PRECISIONS[:1]:
        use(network, precision)
        found, moved = scored()
        apart = float((np.abs(found - reference) / spread).max())
        shift = float(np.abs(moved - areas).max())
        held = shift <= MOVED and (precision != "fp32" or apart <= SAME)
        within &= held
        print(
            f"{precision}: scores differ from the CPU's by {apart:.1e} of their spread at most, AUROCs by {shift:.4f}: "
            f"{'within' if held else 'BEYOND'} the gate"
        )
    return within


def throughput(device: str) -> Iterator[tuple[str, Precision, float]]:
    """Print a line for every profile and precision; yields them with the flows a second that are scored."""
    product, work = square_product(device)
    pool, source = benign_lengths(JanusParams().T)
    lengths = np.random.default_rng(1).choice(pool, FLOWS[device])
    print(f"lengths: {source}, mean {lengths.mean():.1f}")
    for profile in ("quick", "paper"):
        for precision in PRECISIONS if device == "cuda" else PRECISIONS[:1]:
            params = replace(JanusParams(**Janus.profiles[profile]), precision=precision)
            generator = torch.Generator().manual_seed(0)
            network, path = Network(params, generator).to(device), restored_path(params, {})
            use(network, precision)
            data, bank = random_flows(lengths), NoiseBank.drawn(params, path, generator)
            drawn = noisy_batch(data, np.arange(min(params.batch, len(data))), params, path, generator)
            batch = drawn.each(lambda tensor: tensor.to(device))
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()

            def scoring() -> object:
                return score_sequences(network, data, bank, params)  # noqa: B023

            def training() -> object:
                return accumulate_gradient(network, batch, path)  # noqa: B023

            score_s, train_s, peak_s = in_turns(scoring, training, product, repeats=REPEATS)
            peak = work / peak_s
            passes = len(NLL_TIMES) + params.k_steps
            score_share = forward_flop(params, lengths) * passes / score_s / peak
            train_share = 3 * forward_flop(params, batch.lengths) / train_s / peak
            memory = f", {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB" if device == "cuda" else ""
            print(
                f"{profile:5} {precision}: scoring {len(data) / score_s:,.0f} flows/s ({score_share:.1%} of the peak), "
                f"training {len(batch.lengths) / train_s:,.0f} flows/s ({train_share:.1%}){memory}"
            )
            yield profile, precision, len(data) / score_s


def main() -> int:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        print("no GPU here: on one this prints differences to the CPU, throughput by precision, and costs; now the")
        print("same steps with few flows on the CPU, whose numbers say nothing:")
    else:
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    torch.set_num_threads(1)
    within = differences(device)
    for profile, precision, flows_per_second in throughput(device):
        if profile == "paper" and device == "cuda":
            for name, flows in PUBLISHED.items():
                hours = SCORED * flows / flows_per_second / 3600
                print(
                    f"      {name}, {flows:,} flows scored {SCORED} times in {precision}: {hours:.2f} GPU hours a seed"
                )
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
