"""What a child left as scores, believed no further than it can be checked."""

import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import InvalidScores
from janus_bench.plugins import one_line
from janus_bench.stored import read_array


def read_scores(path: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    """What a child left as scores; InvalidScores unless it is a file of that many finite numbers."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise InvalidScores(f"{path.name} is not a regular file")
        values = read_array(path, mapped=False)
    except (OSError, ValueError) as error:
        raise InvalidScores(f"{path.name} cannot be read: {one_line(error)}") from None
    if values.dtype != np.float64 or values.shape != shape:
        found = f"{' × '.join(map(str, values.shape))} {values.dtype}"
        raise InvalidScores(f"{path.name} holds {found} and not {shape[0]} × {shape[1]} float64")
    if not np.isfinite(values).all():
        number = int((~np.isfinite(values)).any(axis=1).sum())
        raise InvalidScores(f"{path.name} holds scores of {number} flows that are no finite numbers")
    return values
