"""Cases that crash, fail and pass, for the test of what runs them: a campaign that sees nothing proves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def bench(_folder: Path) -> Callable[[int], tuple[str, str, int]]:
    def one(seed: int) -> tuple[str, str, int]:
        if seed == 2:
            os.abort()
        if seed == 3:
            os.write(2, b"thread 'x' panicked at y")
        return "nothing", "a traceback" if seed == 1 else "", 3

    return one
