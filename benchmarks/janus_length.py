"""JANUS: do terminal scores depend on the length of a flow?  Rank correlations by coupling, on synthetic flows where
the answer is known.

    python benchmarks/janus_length.py [--epochs 15] [--flows 2000]

Every continuous entry is N(0, I), whatever the length of the flow, so a score that depends on the length has learnt it
from the coupling: optimal transport over a whole batch lets p(c0 | length) differ from N(0, I), among flows of equal
length (``stratified``) it cannot.  The spread of the root mean square falls with the length by nature; its rank
correlation should be near zero.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.stats import spearmanr

from detectors.janus import JanusParams
from detectors.janus.binned import restored_path
from detectors.janus.config import COUPLINGS, score_columns
from detectors.janus.matching import train
from detectors.janus.preprocess import Sequences
from detectors.janus.scoring import NoiseBank, score_sequences

SCORES = ("terminal_flow", "terminal_packet", "terminal_norm", "velocity_total", "kinetic_total")


def flows(n: int, seed: int) -> Sequences:
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.exp(rng.normal(1.6, 1.1, n)), 1, 64).astype(np.int64)
    packets = np.concatenate(
        [rng.normal(size=(lengths.sum(), 3)), rng.integers(0, 2, (lengths.sum(), 6))], axis=1
    ).astype(np.float32)
    return Sequences(rng.normal(size=(n, 20)).astype(np.float32), packets, np.cumsum(lengths) - lengths, lengths)


def quiet(fraction: float, text: str) -> None:
    """No progress display."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--flows", type=int, default=2000)
    options = parser.parse_args()
    test = flows(options.flows, 2)
    print(
        f"{'coupling':12}"
        + "".join(f"{name:>17}" for name in SCORES)
        + "   (Spearman's ρ with the length; synthetic noise)"
    )
    for coupling in COUPLINGS:
        params = JanusParams(
            d_model=32, n_layers=1, n_heads=2, k_steps=8, lr=2e-3, epochs=options.epochs, coupling=coupling
        )
        path = restored_path(params, {})
        generator = torch.Generator().manual_seed(0)
        network = train(flows(options.flows, 0), flows(300, 1), params, path, generator, torch.device("cpu"), quiet)
        scores = score_sequences(network, test, NoiseBank.drawn(params, path, generator), params)
        table = dict(zip(score_columns(params), scores.T, strict=True))
        print(f"{coupling:12}" + "".join(f"{spearmanr(table[name], test.lengths).statistic:17.2f}" for name in SCORES))


if __name__ == "__main__":
    main()
