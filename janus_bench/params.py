"""Detector parameters from text: ``janus[sigma=0.6,lambda_disc=0.5]`` → a validated frozen dataclass."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from janus_bench.errors import UsageError, unknown

__all__ = ["build_params", "columns_of", "parse_request", "places_of", "split_requests"]


def split_requests(text: str) -> list[str]:
    """``a,b[x=1,y=2]`` → ``['a', 'b[x=1,y=2]']``: commas inside brackets belong to the parameters."""
    parts, depth, current = [], 0, ""
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += character
    parts.append(current.strip())
    return [part for part in parts if part]


def parse_request(text: str) -> tuple[str, dict[str, str]]:
    """``janus[sigma=0.6]`` → ``('janus', {'sigma': '0.6'})``."""
    name, bracket, rest = text.partition("[")
    if not bracket:
        return name, {}
    if not rest.endswith("]"):
        raise UsageError(f"{text!r}: the parameter list is not closed; write {name}[parameter=value,…]")
    given = {}
    for item in split_requests(rest[:-1]):
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{text!r}: {item!r} is not parameter=value")
        given[key.strip()] = value.strip()
    return name, given


def build_params(detector: str, params_type: type | None, *layers: Mapping[str, Any], kind: str = "detector") -> Any:
    """An instance of the detector's ``Params`` with later layers overriding earlier ones; None for a detector without parameters.

    Strings are converted by the field's annotation (bool, int, float, str, Literal, optional).  UsageError names parameter and value.
    """
    merged = {key: value for layer in layers for key, value in layer.items()}
    if params_type is None:
        if merged:
            raise UsageError(f"{kind} {detector!r} has no parameters, but {', '.join(merged)} was given")
        return None
    hints = typing.get_type_hints(params_type)
    fields = {field.name for field in dataclasses.fields(params_type)}
    converted = {}
    for key, value in merged.items():
        if key not in fields:
            raise unknown(f"parameter of {detector}", key, fields)
        converted[key] = _convert(f"{kind} {detector!r}", key, value, hints[key])
    try:
        return params_type(**converted)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{kind} {detector!r}: {error}") from None


def _convert(owner: str, key: str, value: Any, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        if value is None or (isinstance(value, str) and value.lower() == "none" and len(options) < len(typing.get_args(hint))):
            return None
        return _convert(owner, key, value, options[0])
    if origin is typing.Literal:
        allowed = typing.get_args(hint)
        for option in allowed:
            if str(option) == str(value):
                return option
        raise UsageError(f"{owner}: {key}={value!r} must be one of {', '.join(map(str, allowed))}")
    if hint is bool and isinstance(value, str):
        if value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise UsageError(f"{owner}: {key}={value!r} must be true or false")
    if hint in (int, float) and not isinstance(value, bool) and isinstance(value, str | int | float):
        try:
            return hint(value) if hint is float or not isinstance(value, float) else _whole(value)
        except ValueError:
            raise UsageError(f"{owner}: {key}={value!r} must be {'a number' if hint is float else 'a whole number'}") from None
    if isinstance(hint, type) and not isinstance(value, hint):
        raise UsageError(f"{owner}: {key}={value!r} must be of type {hint.__name__}")
    return value


def _whole(value: float) -> int:
    if value != int(value):
        raise ValueError
    return int(value)


def columns_of(name: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """The score columns that an aggregator reads."""
    if name.startswith("column:"):
        return (name.removeprefix("column:"),)
    wanted = parse_request(name)[1].get("columns", "")
    return tuple(columns[place] for place in places_of(wanted, columns)) if wanted else columns


def places_of(wanted: str, columns: tuple[str, ...]) -> list[int]:
    """Where the columns that ``wanted`` names stand, in the order of the names, each once."""
    found: dict[int, None] = {}
    for pattern in wanted.split("+"):
        places = [place for place, name in enumerate(columns) if fnmatchcase(name, pattern)]
        if not places:
            raise unknown("score column", pattern, columns)
        found |= dict.fromkeys(places)
    return list(found)
