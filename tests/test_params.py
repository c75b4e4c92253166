"""Detector parameters from text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pytest

from janus_bench.errors import UsageError
from janus_bench.params import (
    CheckedParams,
    Count,
    Limit,
    NonNegative,
    Positive,
    Share,
    build_params,
    parse_request,
    split_requests,
)


@dataclass(frozen=True)
class Params:
    sigma: float = 0.1
    layers: int = 4
    use_ot: bool = True
    mode: Literal["full", "causal"] = "full"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.sigma < 0:
            raise ValueError(f"sigma={self.sigma} must not be negative")


def test_commas_inside_brackets_belong_to_the_parameters():
    assert split_requests("a, b[x=1,y=2],c") == ["a", "b[x=1,y=2]", "c"]
    assert parse_request("b[x=1,y=2]") == ("b", {"x": "1", "y": "2"})
    assert parse_request("a") == ("a", {})


def test_text_is_converted_by_annotation_and_later_layers_win():
    params = build_params(
        "d", Params, {"sigma": 0.3, "layers": 2}, {"sigma": "0.6", "use_ot": "false", "mode": "causal", "limit": "7"}
    )
    assert params == Params(0.6, 2, False, "causal", 7)
    assert build_params("d", Params, {"limit": "none"}).limit is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sigm": "1"}, ["unknown parameter of d", "'sigm'", "Did you mean 'sigma'"]),
        ({"sigma": "abc"}, ["sigma='abc'", "a finite number"]),
        ({"layers": "1.5"}, ["layers='1.5'", "whole number"]),
        ({"use_ot": "yes"}, ["use_ot='yes'", "true or false"]),
        ({"mode": "half"}, ["mode='half'", "full, causal"]),
        ({"sigma": "-1"}, ["sigma=-1.0 must not be negative"]),
    ],
)
def test_wrong_parameters_are_one_line_naming_what_and_the_remedy(given, words):
    with pytest.raises(UsageError) as error:
        build_params("d", Params, given)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["d[sigma=1", "d[sigma]", "d[=1]"])
def test_malformed_brackets(text):
    with pytest.raises(UsageError):
        parse_request(text)


def test_a_detector_without_parameters_refuses_them():
    with pytest.raises(UsageError, match="has no parameters"):
        build_params("d", None, {"x": "1"})


# A detector's parameters held to their annotations


@dataclass(frozen=True)
class Checked(CheckedParams):
    name: ClassVar[str] = "toy"

    layers: Annotated[int, Limit("≥", 2), Limit("≤", 8)] = 4
    epochs: Count = 10
    lr: Positive = 1e-3
    decay: NonNegative = 0.0
    share: Share = 0.5
    ema: Annotated[float, Limit("≥", 0), Limit("<", 1)] = 0.9
    free: float = 0.0
    on: bool = True
    mode: Literal["", "full", "causal"] = "full"
    note: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.epochs >= self.layers, "epochs", f"at least layers={self.layers}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": 1}, "layers must be a whole number ≥ 2 and ≤ 8, not 1"),
        ({"layers": 9}, "layers must be a whole number ≥ 2 and ≤ 8, not 9"),
        ({"layers": 4.0}, "layers must be a whole number ≥ 2 and ≤ 8, not 4.0"),
        ({"layers": True}, "layers must be a whole number ≥ 2 and ≤ 8, not True"),
        ({"epochs": 0}, "epochs must be a whole number ≥ 1, not 0"),
        ({"lr": 0.0}, "lr must be a number > 0, not 0.0"),
        ({"lr": float("inf")}, "lr must be a number > 0, not inf"),
        ({"lr": "1"}, "lr must be a number > 0, not '1'"),
        ({"decay": -1e-9}, "decay must be a number ≥ 0, not -1e-09"),
        ({"share": 0}, "share must be a number > 0 and ≤ 1, not 0"),
        ({"share": 1.1}, "share must be a number > 0 and ≤ 1, not 1.1"),
        ({"ema": 1.0}, "ema must be a number ≥ 0 and < 1, not 1.0"),
        ({"free": float("nan")}, "free must be a finite number, not nan"),
        ({"free": False}, "free must be a finite number, not False"),
        ({"on": 1}, "on must be true or false, not 1"),
        ({"mode": "half"}, "mode must be one of nothing, full, causal, not 'half'"),
        ({"note": 3}, "note must be of type str, not 3"),
        ({"epochs": 3}, "epochs must be at least layers=4, not 3"),
    ],
    ids=str,
)
def test_a_value_outside_its_annotation_is_one_line_with_detector_name_limits_and_value(given, message):
    with pytest.raises(UsageError) as error:
        Checked(**given)
    assert str(error.value) == f"toy: {message}"


def test_limits_themselves_are_within_and_none_is_allowed_where_it_says_so():
    edge = Checked(layers=2, epochs=2, decay=0, share=1, ema=0.0, free=-1e300, on=False, mode="", note=None)
    assert (edge.layers, edge.share, edge.mode, edge.note) == (2, 1, "", None)
    assert Checked(layers=8, epochs=8, note="x").note == "x"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": "9"}, "detector 'toy': layers='9' must be a whole number ≥ 2 and ≤ 8"),
        ({"layers": "1e1"}, "detector 'toy': layers='1e1' must be a whole number ≥ 2 and ≤ 8"),
        ({"lr": "nan"}, "detector 'toy': lr='nan' must be a number > 0"),
        ({"mode": "half"}, "detector 'toy': mode='half' must be one of nothing, full, causal"),
        ({"epochs": "3"}, "toy: epochs must be at least layers=4, not 3"),
    ],
    ids=str,
)
def test_text_is_held_to_the_limits_too(given, message):
    with pytest.raises(UsageError) as error:
        build_params("toy", Checked, given)
    assert str(error.value) == message


def test_a_plain_frozen_dataclass_may_carry_limits_too():
    @dataclass(frozen=True)
    class Plain:
        k: int = 5

    assert build_params("d", Plain, {"k": "-3"}).k == -3
    with pytest.raises(UsageError, match="k='inf' must be a whole number"):
        build_params("d", Plain, {"k": "inf"})
    with pytest.raises(UsageError, match="k=inf must be a whole number"):
        build_params("d", Plain, {"k": float("inf")})
