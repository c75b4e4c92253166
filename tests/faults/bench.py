"""``python -m tests.faults.bench KIND BEGIN END FOLDER``: cases of one kind in this process, a line of JSON each.

``KIND`` is a module beside this one with a function ``bench``.  Whoever starts it notices a crash or a hang.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from importlib import import_module
from pathlib import Path

MOST_BYTES = 6 << 30
"""Of memory: no file of some kilobytes is worth more."""


def main() -> None:
    kind, begin, end, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    printed = (folder / "printed").open("a+b")
    os.dup2(printed.fileno(), 2)  # what libraries print past Python's own streams
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    os.environ |= {"TMPDIR": str(folder), "COLUMNS": "160", "NO_COLOR": "1"}
    os.chdir(folder)
    one = import_module(f"tests.faults.{kind}").bench(folder)
    for seed in range(begin, end):
        printed.truncate(0)
        what, wrong, code = one(seed)
        printed.seek(0)
        past = printed.read().decode(errors="replace")
        if not wrong and any(word in past for word in ("panicked", "Traceback", "Exception ignored")):
            wrong = f"printed past Python: {past[-500:]}"
        told.write(json.dumps([seed, f"exit code {code}", f"{what}: {wrong}" if wrong else ""]) + "\n")


if __name__ == "__main__":
    main()
