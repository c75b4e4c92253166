"""Every built-in form of tables, whole: a renderer may give its text in pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from janus_bench.extensions import Renderer
from reports.plugin import janus_bench_renderers


def whole(renderer: Renderer) -> Callable[[Mapping[str, Any], int, bool], Any]:
    def render(document: Mapping[str, Any], width: int, color: bool) -> str | bytes:
        drawn = renderer.render(document, width, color)
        return drawn if isinstance(drawn, str | bytes) else "".join(drawn)

    return render


RENDER = {renderer.name: whole(renderer) for renderer in janus_bench_renderers()}
