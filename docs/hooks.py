"""For ``make docs``: links that lead out of this folder, to files of the repository, are shown as the names of those
files, since the site does not have them."""

import posixpath
import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]*)\]\((\.\./[^)#\s]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """See above; the name of the event is mkdocs'."""

    def named(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), link[2]))
        name = path.removeprefix("../")
        return f"`{name}`" if name in link[1] else f"{link[1]} (`{name}`)"

    return _OUTSIDE.sub(named, markdown)
