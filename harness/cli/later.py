"""Commands that are imported when they are asked for: the help of a group, and every other command, start without
them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import typer
import typer.core


@dataclass(frozen=True)
class Later:
    """A command by ``module:function``, and what is said of it until it is imported: the first sentence of its
    docstring, and its epilog."""

    where: str
    summary: str
    epilog: str = ""

    def function(self) -> Callable[..., None]:
        module, _, name = self.where.partition(":")
        found: Callable[..., None] = getattr(importlib.import_module(module), name)
        return found

    def command(self, name: str) -> Any:
        alone = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
        alone.command(name, epilog=self.epilog or None)(self.function())
        return typer.main.get_command(alone)


class _Commands(Mapping[str, Any]):
    """Name → command, of some that are there and some that come later."""

    def __init__(self, there: Mapping[str, Any], later: Mapping[str, Later]) -> None:
        self._there, self._later = dict(there), later

    def __getitem__(self, name: str) -> Any:
        if name not in self._there:
            self._there[name] = self._later[name].command(name)
        return self._there[name]

    def __contains__(self, name: object) -> bool:
        return name in self._there or name in self._later

    def __iter__(self) -> Iterator[str]:
        yield from self._later
        yield from (name for name in self._there if name not in self._later)

    def __len__(self) -> int:
        return len(self._there.keys() | self._later.keys())


def group_of(later: Mapping[str, Later]) -> type[typer.core.TyperGroup]:
    """A class of groups that have these commands before those that are there."""

    class Group(typer.core.TyperGroup):
        def __init__(self, *, commands: Any = None, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands: Any = _Commands(commands or {}, later)

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            """As it was, with whole sentences, which are known before anything is imported."""
            rows = [
                (name, later[name].summary if name in later else self.commands[name].help) for name in self.commands
            ]
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    return Group
