"""Detector parameters: text such as ``janus[sigma=0.6,lambda_disc=0.5]`` → a frozen dataclass, held to its
annotations."""

import dataclasses
import json
import math
import operator
import types
import typing
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from janus_bench.errors import UsageError, unknown


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
    """An instance of the detector's ``Params`` with later layers overriding earlier ones; None for a detector without
    parameters.

    Text becomes what the field's annotation says (bool, int, float, str, Literal, optional).  UsageError names
    parameter, value and what is allowed.
    """
    merged = {key: value for layer in layers for key, value in layer.items()}
    if params_type is None:
        if merged:
            raise UsageError(f"{kind} {detector!r} has no parameters, but {', '.join(merged)} was given")
        return None
    hints = _hints(params_type)
    converted = {}
    for key, given in merged.items():
        if key not in hints:
            raise unknown(f"parameter of {detector}", key, hints)
        converted[key] = _from_text(given, hints[key])
        if expected := _unmet(hints[key], converted[key]):
            raise UsageError(f"{kind} {detector!r}: {key}={given!r} must be {expected}")
    try:
        made = params_type(**converted)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{kind} {detector!r}: {error}") from None
    for field in hints:
        if not fits_into_json(value := getattr(made, field)):
            raise UsageError(f"{kind} {detector!r}: {field} = {value!r} does not fit into JSON, as runs are named")
    return made


def fits_into_json(value: object) -> bool:
    """Whether a parameter can be written down, and read again as the same."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


@dataclasses.dataclass(frozen=True)
class Limit:
    """A bound on a number, as part of its annotation: ``Annotated[int, Limit("≥", 1)]``."""

    sign: Literal["≥", "≤", ">", "<"]
    bound: float

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"

    def holds(self, number: float) -> bool:
        return _COMPARED[self.sign](number, self.bound)


@dataclasses.dataclass(frozen=True)
class Spelled:
    """A text that may be written in several ways, as part of its annotation: ``Annotated[str, Spelled(f, "…")]``.

    canonical  text → the one way that counts; ValueError for what is none;  expected: what is wanted, for messages
    """

    canonical: Callable[[str], str]
    expected: str


_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "≥": operator.ge,
    "≤": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}

Count = Annotated[int, Limit("≥", 1)]
Positive = Annotated[float, Limit(">", 0)]
NonNegative = Annotated[float, Limit("≥", 0)]
Share = Annotated[float, Limit(">", 0), Limit("≤", 1)]


class CheckedParams:
    """Base of a detector's frozen dataclass: its fields are held to their annotations, limits included, when an
    instance is made.

    ``int``: a whole number; ``float``: a finite number; ``bool``, ``str``, ``Literal`` and ``… | None`` as they read.
    What no single annotation can say (one field against another) a subclass adds in ``__post_init__`` by ``require``,
    after ``super().__post_init__()``.
    """

    name: ClassVar[str] = ""
    """The detector's, which every message begins with; that of the class where it has none."""

    def __post_init__(self) -> None:
        own: Any = type(self)
        for field, hint in _hints(own).items():
            if expected := _unmet(hint, getattr(self, field)):
                self.require(False, field, expected)

    def require(self, holds: bool, field: str, expected: str) -> None:
        """UsageError ``DETECTOR: FIELD must be EXPECTED, not VALUE`` unless ``holds``."""
        if not holds:
            name = self.name or type(self).__qualname__
            raise UsageError(f"{name}: {field} must be {expected}, not {getattr(self, field)!r}")


@cache
def _hints(params_type: type) -> Mapping[str, Any]:
    """Field → its annotation with the limits."""
    hints = typing.get_type_hints(params_type, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(params_type)}


def _parts(hint: Any) -> tuple[Any, tuple[Limit, ...], bool]:
    """An annotation as the type that counts (the first of a union), its limits, and whether None is allowed."""
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        hint, optional = options[0], len(options) < len(typing.get_args(hint))
    limits: tuple[Limit, ...] = ()
    if typing.get_origin(hint) is Annotated:
        hint, *notes = typing.get_args(hint)
        limits = tuple(note for note in notes if isinstance(note, Limit))
    return hint, limits, optional


def _spelled(hint: Any) -> Spelled | None:
    notes = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
    return next((note for note in notes if isinstance(note, Spelled)), None)


def _is(spelled: Spelled, value: str) -> bool:
    """Whether a text is written in the way that counts."""
    try:
        return spelled.canonical(value) == value
    except ValueError:
        return False


def _from_text(value: Any, hint: Any) -> Any:
    """``value`` as its annotation wants it; as it is where that cannot be, which ``_unmet`` then says."""
    kind, _, optional = _parts(hint)
    if (spelled := _spelled(hint)) is not None and isinstance(value, str):
        try:
            return spelled.canonical(value)
        except ValueError:
            return value
    if optional and isinstance(value, str) and value.lower() == "none":
        return None
    if typing.get_origin(kind) is Literal:
        return next((option for option in typing.get_args(kind) if str(option) == str(value)), value)
    if kind is bool and isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower(), value)
    if kind in (int, float) and type(value) in (str, int, float):
        try:
            number = kind(value)
        except (ValueError, OverflowError):
            return value
        return value if isinstance(value, float) and number != value else number
    return value


def _unmet(hint: Any, value: Any) -> str:
    """What an annotation wants that ``value`` is not, such as ``a whole number ≥ 1``; empty where it is."""
    kind, limits, optional = _parts(hint)
    if optional and value is None:
        return ""
    if (spelled := _spelled(hint)) is not None:
        return "" if isinstance(value, str) and _is(spelled, value) else spelled.expected
    if typing.get_origin(kind) is Literal:
        allowed = typing.get_args(kind)
        return "" if value in allowed else f"one of {', '.join(str(option) or 'nothing' for option in allowed)}"
    if kind is bool:
        return "" if isinstance(value, bool) else "true or false"
    if kind in (int, float):
        typed = isinstance(value, int | kind) and not isinstance(value, bool)
        if typed and math.isfinite(value) and all(limit.holds(value) for limit in limits):
            return ""
        bounds = " and ".join(map(str, limits))
        return f"{'a whole number' if kind is int else 'a number' if limits else 'a finite number'} {bounds}".strip()
    return f"of type {kind.__name__}" if isinstance(kind, type) and not isinstance(value, kind) else ""


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
