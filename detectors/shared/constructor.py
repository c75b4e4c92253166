"""A detector's ``Params`` made of the constructor of a class from another library."""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import make_dataclass
from types import MappingProxyType
from typing import Any

from janus_bench.errors import UsageError


def params_of(
    detector: str,
    model_class: type,
    base: type,
    ours: Collection[str],
    instead: str,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> type:
    """A frozen dataclass of ``base`` and the constructor's arguments whose defaults are numbers, words, flags or None;
    those in ``ours`` the harness decides, and ``defaults`` stand in place of the constructor's.

    UsageError if the class needs an argument that a parameter cannot express; ``instead`` says what to do.
    """
    arguments = [
        argument
        for argument in list(inspect.signature(model_class.__init__).parameters.values())[1:]  # type: ignore[misc]
        if argument.name not in ours
    ]
    required = [
        argument.name
        for argument in arguments
        if argument.default is argument.empty
        and argument.kind in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY)
    ]
    if required:
        raise UsageError(
            f"detector {detector!r} needs {', '.join(required)}, which a parameter cannot express; {instead}"
        )
    values = [(argument.name, defaults.get(argument.name, argument.default)) for argument in arguments]
    return make_dataclass(
        f"{model_class.__name__}Params",
        [
            (name, str | None if value is None else type(value), value)
            for name, value in values
            if isinstance(value, bool | int | float | str | None)
        ],
        bases=(base,),
        namespace={
            "name": detector,
            "__doc__": f"Parameters of ``{detector}``: ``input`` and those of the constructor.",
        },
        frozen=True,
    )


def number(value: Any) -> Any:
    """Text as a number where it is one: other libraries take numbers for many arguments whose default is a word or
    None."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    return value
