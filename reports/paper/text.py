"""Text that LaTeX's own fonts have, and where a line of it may end."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from reports.render.latex import escape

LETTERS = "ßæøåÆØÅœŒłŁı"  # Without an accent that is taken off, and yet in the fonts.
OGONEK = "\u0328"  # The one accent that they lack.
LONG = re.compile(r"(\\_|[/+:]|(?<=\w)-)(?=[^\s\\-])")  # Where names of files and datasets may be broken.


def latin(text: str) -> str:
    """With a question mark in the place of what LaTeX would stop at: a name may have any letters."""
    return "".join(character if _known(character) else "?" for character in text)


def _known(character: str) -> bool:
    if character.isascii() or character in LETTERS or escape(character) != character:
        return True
    letter, *accents = list(unicodedata.normalize("NFD", character))
    return (
        character.isalpha() and letter.isascii() and len(accents) == 1 and accents != [OGONEK] and character < "\u0180"
    )


def all_latin(value: Any) -> Any:
    """A document with every text in it ``latin``."""
    if isinstance(value, str):
        return latin(value)
    if isinstance(value, Mapping):
        return {all_latin(key): all_latin(one) for key, one in value.items()}
    return type(value)(map(all_latin, value)) if isinstance(value, list | tuple) else value


def breakable(text: str) -> str:
    """Escaped; a long name may be broken behind its separators."""
    return LONG.sub(r"\1\\allowbreak{}", escape(text))
