"""KitNET: small autoencoders and one more over their errors, trained a row at a time (Mirsky et al., NDSS 2018, section
IV; KitNET-py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.kitsune.mapper import feature_groups
from janus_bench.compiled import njit
from janus_bench.ragged import starts_of

_EPSILON = 1e-16  # added to a feature's range
_SATURATED = 500.0  # beyond, a sigmoid is 0 or 1; subnormal numbers would make the products ten times slower
# rows that are scored at once: too few for a BLAS to share them among threads, which costs more than it gains
_BLOCK = 256
_UNITS = 32  # visible units of the autoencoders that are scored at once
_WEIGHT_SEED = 1234  # the public code starts every autoencoder from the legacy generator with this seed


class _Layer(NamedTuple):
    """Autoencoders side by side, over disjoint columns.

    columns  (V,) int64: column of the input that each visible unit reads
    visible, hidden  (A + 1,) int64: the units of autoencoder i are ``visible[i]:visible[i + 1]`` and
                     ``hidden[i]:hidden[i + 1]``
    weights  (sum of visible × hidden,), row by row, autoencoder by autoencoder; the decoder has the same, transposed
    low, high, visible_bias  (V,); hidden_bias (H,)
    """

    columns: NDArray[np.int64]
    visible: NDArray[np.int64]
    hidden: NDArray[np.int64]
    weights: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    visible_bias: NDArray[np.float64]
    hidden_bias: NDArray[np.float64]

    def starts(self) -> NDArray[np.int64]:
        """Where each autoencoder's weights begin, (A + 1,)."""
        return starts_of(np.diff(self.visible) * np.diff(self.hidden))


def _new_layer(groups: list[list[int]], ratio: float) -> _Layer:
    sizes = np.array([len(group) for group in groups])
    hidden = np.ceil(sizes * ratio).astype(np.int64)
    weights = [
        np.random.RandomState(_WEIGHT_SEED).uniform(-1 / v, 1 / v, size=(v, h)).ravel()
        for v, h in zip(sizes.tolist(), hidden.tolist(), strict=True)
    ]
    units = int(sizes.sum())
    return _Layer(
        columns=np.concatenate(groups).astype(np.int64),
        visible=starts_of(sizes),
        hidden=starts_of(hidden),
        weights=np.concatenate(weights),
        low=np.full(units, np.inf),
        high=np.full(units, -np.inf),
        visible_bias=np.zeros(units),
        hidden_bias=np.zeros(int(hidden.sum())),
    )


# Sums may be taken in another order than written: the public code leaves theirs to a BLAS.
@njit(nogil=True, fastmath={"reassoc", "contract"})
def _train(
    rows: Any,
    columns: Any,
    visible: Any,
    hidden: Any,
    weights: Any,
    low: Any,
    high: Any,
    v_bias: Any,
    h_bias: Any,
    rate: Any,
    errors: Any,
) -> Any:
    """One step of gradient descent of each autoencoder on each of ``rows`` (n, D) in turn; RMSEs before the step into
    ``errors`` (n, A)."""
    x, error = np.empty(len(columns)), np.empty(len(columns))
    y, slope = np.empty(len(h_bias)), np.empty(len(h_bias))
    for r in range(len(rows)):
        begin = 0
        for a in range(len(visible) - 1):
            v0, v, h0, h = visible[a], visible[a + 1] - visible[a], hidden[a], hidden[a + 1] - hidden[a]
            # Views: an index that is a sum might be negative, and the check for that would keep the compiler from
            # vector instructions.
            w, c, b = weights[begin : begin + v * h].reshape((v, h)), v_bias[v0 : v0 + v], h_bias[h0 : h0 + h]
            begin += v * h
            for j in range(h):
                y[j] = b[j]
            for i in range(v):
                value = rows[r, columns[v0 + i]]
                low[v0 + i], high[v0 + i] = min(low[v0 + i], value), max(high[v0 + i], value)
                x[i] = (value - low[v0 + i]) / (high[v0 + i] - low[v0 + i] + _EPSILON)
                for j in range(h):
                    y[j] += x[i] * w[i, j]
            for j in range(h):
                y[j] = 1 / (1 + np.exp(-y[j]))
                slope[j] = 0.0
            squares = 0.0
            for i in range(v):
                total = c[i]
                for j in range(h):
                    total += y[j] * w[i, j]
                error[i] = x[i] - 1 / (1 + np.exp(-total))
                squares += error[i] * error[i]
                c[i] += rate * error[i]
                for j in range(h):
                    slope[j] += error[i] * w[i, j]
            for j in range(h):
                slope[j] *= y[j] * (1 - y[j])
                b[j] += rate * slope[j]
            for i in range(v):
                for j in range(h):
                    w[i, j] += rate * (x[i] * slope[j] + error[i] * y[j])
            errors[r, a] = np.sqrt(squares / v)


class _Block(NamedTuple):
    """Some autoencoders of a trained layer in matrix form: each is a block of block-diagonal weights (V, H), so that
    all of them are two products."""

    columns: NDArray[np.int64]
    low: NDArray[np.float64]
    span: NDArray[np.float64]
    weights: NDArray[np.float64]
    visible_bias: NDArray[np.float64]
    hidden_bias: NDArray[np.float64]
    average: NDArray[np.float64]  # (V, A): the mean over the units of each autoencoder

    @classmethod
    def of(cls, layer: _Layer, members: range) -> _Block:
        units, cells = (slice(ends[members.start], ends[members.stop]) for ends in (layer.visible, layer.hidden))
        weights = np.zeros((units.stop - units.start, cells.stop - cells.start))  # (V, H)
        average = np.zeros((len(weights), len(members)))  # (V, A)
        start = layer.starts()
        for a in members:
            across = slice(layer.visible[a] - units.start, layer.visible[a + 1] - units.start)
            down = slice(layer.hidden[a] - cells.start, layer.hidden[a + 1] - cells.start)
            weights[across, down] = layer.weights[start[a] : start[a + 1]].reshape(weights[across, down].shape)
            average[across, a - members.start] = 1 / (across.stop - across.start)
        span = layer.high[units] - layer.low[units] + _EPSILON
        return cls(
            layer.columns[units],
            layer.low[units],
            span,
            weights,
            layer.visible_bias[units],
            layer.hidden_bias[cells],
            average,
        )

    def errors(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """RMSE of each autoencoder on rows (B, D), (B, A)."""
        x = rows[:, self.columns]  # (B, V)
        x -= self.low
        x /= self.span
        y = x @ self.weights  # (B, H)
        y += self.hidden_bias
        z = _sigmoid(y) @ self.weights.T  # (B, V)
        z += self.visible_bias
        x -= _sigmoid(z)
        return np.sqrt(np.square(x, out=x) @ self.average)


def _blocks(layer: _Layer) -> list[_Block]:
    """The autoencoders of a layer in a few blocks: in one, nearly all of the work would be with zeros; alone, it would
    be in the calls."""
    blocks, first = [], 0
    for a in range(len(layer.visible) - 1):
        if a + 2 == len(layer.visible) or layer.visible[a + 2] - layer.visible[first] > _UNITS:
            blocks.append(_Block.of(layer, range(first, a + 1)))
            first = a + 1
    return blocks


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    np.negative(x, out=x)
    np.clip(x, -_SATURATED, _SATURATED, out=x)
    np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)


class KitNET:
    """``learn_groups``, then ``train`` on rows in their order, then ``score``."""

    def __init__(self, largest: int = 10, rate: float = 0.1, ratio: float = 0.75) -> None:
        self._largest, self._rate, self._ratio = largest, rate, ratio
        self._ensemble: _Layer | None = None
        self._output: _Layer | None = None

    @property
    def groups(self) -> list[list[int]]:
        layer = self._trained()[0]
        return [columns.tolist() for columns in np.split(layer.columns, layer.visible[1:-1])]

    def learn_groups(self, rows: NDArray[np.float64]) -> None:
        """Map the features by their correlations in ``rows`` (n, D); start with fresh autoencoders."""
        groups = feature_groups(rows, self._largest)
        self._ensemble = _new_layer(groups, self._ratio)
        self._output = _new_layer([list(range(len(groups)))], self._ratio)

    def train(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """One step on each of ``rows`` (n, D), in their order; the RMSE (n,) of each before its step."""
        errors = np.ascontiguousarray(rows, np.float64)
        # the ensemble learns nothing from the output, so that each may take all rows in turn
        for layer in self._trained():
            inputs, errors = errors, np.empty((len(rows), len(layer.visible) - 1))
            _train(inputs, *layer, self._rate, errors)  # type: ignore[call-arg]
        return errors[:, 0]

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """RMSE (n,) of the output autoencoder on ``rows`` (n, D), as large as it gets: features are scaled by their
        range in training, unclipped."""
        ensemble, output = (_blocks(layer) for layer in self._trained())
        scores = np.empty(len(rows))
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            errors = np.hstack([part.errors(rows[block]) for part in ensemble])  # (B, A)
            scores[block] = output[0].errors(errors)[:, 0]
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The whole state, for ``from_arrays``."""
        ensemble, output = self._trained()
        return {
            f"{name}.{key}": value
            for name, layer in (("ensemble", ensemble), ("output", output))
            for key, value in layer._asdict().items()
        }

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._ensemble, self._output = (
            _Layer(*(arrays[f"{name}.{key}"] for key in _Layer._fields)) for name in ("ensemble", "output")
        )

    def _trained(self) -> tuple[_Layer, _Layer]:
        if self._ensemble is None or self._output is None:
            raise RuntimeError("KitNET: learn_groups() comes first")
        return self._ensemble, self._output
