"""``janus-bench detector new``: a package with a detector that runs at once, to be changed into one's own."""

import re
import shlex
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from harness.cli import console
from janus_bench import plugins
from janus_bench.errors import UsageError
from janus_bench.files import why

LONGEST = 60  # Of its letters, so that files can bear the name.
TEMPLATES = Path(__file__).resolve().parents[1] / "template"


def new(
    name: Annotated[str, typer.Argument(help="Of the detector, in small letters: my-detector.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder to write; default: NAME.")] = None,
) -> None:
    """Write a package with a detector of a few lines: it installs, passes `detector check`, and runs at once."""
    package = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > LONGEST:
        raise UsageError(
            f"{name!r} is no name for a detector: use small letters, digits and single hyphens, a letter first, "
            f"{LONGEST} at most"
        )
    taken = {*plugins.detector_entries(), *plugins.presets(), *plugins.detector_groups(), *plugins.detector_families()}
    if name in taken or iskeyword(package) or find_spec(package) is not None:
        raise UsageError(
            f"{name!r} is the name of a detector, of a group of detectors or of a Python module already: choose another"
        )
    folder = output or Path(name)
    if folder.exists():
        raise UsageError(f"{folder} is there already: choose another folder with -o, or another name")
    values = {"name": name, "package": package, "cls": "".join(part.capitalize() for part in package.split("_"))}
    try:
        for template, place in _places(package).items():
            file = folder / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(values), "utf-8")
        (folder / package / "py.typed").touch()
    except OSError as error:
        raise UsageError(f"cannot write {folder} ({why(error)}): choose another folder with -o") from None
    console.say(f"wrote {folder}: the detector is {folder / package / '__init__.py'}. Next:")
    place = str(folder) if folder.is_absolute() else f"./{folder}"  # without the dot pip takes it for a package's name
    console.out(
        f"pip install -e {shlex.quote(f'{place}[dev]')}\njanus-bench detector check {name}\n"
        f"janus-bench run --protocol within --detectors {name},iforest --datasets synthetic_office --seeds 42"
    )


def _places(package: str) -> dict[str, str]:
    """Template → file of the package."""
    return {
        "pyproject.toml.txt": "pyproject.toml",
        "README.md.txt": "README.md",
        "detector.py.txt": f"{package}/__init__.py",
        "test_contract.py.txt": f"tests/test_{package}.py",
    }
