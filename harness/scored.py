"""What a child left as scores, believed no further than it can be checked."""

import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import InvalidScores
from janus_bench.files import why
from janus_bench.stored import Unreadable, read_array
from janus_bench.words import counted


def read_scores(path: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    """What a child left as scores; InvalidScores unless it is a file of that many finite numbers."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise InvalidScores(f"{path.name} is not a regular file")
        values = read_array(path, mapped=False)
    except (OSError, Unreadable) as error:
        reason = why(error) if isinstance(error, OSError) else error
        raise InvalidScores(f"{path.name} cannot be read: {reason}") from None
    if values.dtype != np.float64 or values.shape != shape:
        found = f"{' × '.join(map(str, values.shape))} {values.dtype}"
        raise InvalidScores(f"{path.name} holds {found} and not {shape[0]} × {shape[1]} float64")
    if not np.isfinite(values).all():
        number = int((~np.isfinite(values)).any(axis=1).sum())
        raise InvalidScores(f"{path.name} holds scores that are not finite, of {counted(number, 'flow')}")
    return values
