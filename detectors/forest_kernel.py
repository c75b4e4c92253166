"""Where rows fall in an isolation forest.  Apart from the detector, so that to name that one loads no compiler."""

from typing import Any

from janus_bench.compiled import njit


@njit(nogil=True)
def isolation_depths(
    rows: Any, root: Any, feature: Any, threshold: Any, left: Any, right: Any, depth: Any, out: Any
) -> None:
    """Add to ``out`` (n,) the ``depth`` of the leaf that each of ``rows`` (n, D) float32 falls into, tree by tree."""
    for i in range(len(rows)):
        for tree in range(len(root)):
            node = root[tree]
            while left[node] >= 0:
                node = left[node] if rows[i, feature[node]] <= threshold[node] else right[node]
            out[i] += depth[node]
