"""Text that LaTeX's own fonts have, and where a line of it may end."""

import re
import unicodedata

from reports.render.latex import escape

LETTERS = "ßæøåÆØÅœŒłŁı"  # Without an accent that is taken off, and yet in the fonts.
OGONEK = "\u0328"  # The one accent that they lack.
LONG = re.compile(r"(\\_|[/+:]|(?<=\w)-)(?=[^\s\\-])")  # Where names of files and datasets may be broken.


def latin(text: str) -> str:
    """With a question mark in the place of what LaTeX would stop at: a name may have any characters."""
    return "".join(character if _known(character) else "?" for character in text)


def _known(character: str) -> bool:
    if character.isascii():
        return character.isprintable() or character == "\n"
    letter, *accents = list(unicodedata.normalize("NFD", character))
    composed = character < "\u0180" and letter.isascii() and letter.isalpha()
    return character in LETTERS or (composed and len(accents) == 1 and accents != [OGONEK])


def breakable(text: str) -> str:
    """Escaped; a long name may be broken behind its separators."""
    return LONG.sub(r"\1\\allowbreak{}", escape(text))
