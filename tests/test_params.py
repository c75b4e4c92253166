"""Detector parameters from text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from janus_bench.errors import UsageError
from janus_bench.params import build_params, parse_request, split_requests


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
    params = build_params("d", Params, {"sigma": 0.3, "layers": 2}, {"sigma": "0.6", "use_ot": "false", "mode": "causal", "limit": "7"})
    assert params == Params(0.6, 2, False, "causal", 7)
    assert build_params("d", Params, {"limit": "none"}).limit is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sigm": "1"}, ["unknown parameter of d", "'sigm'", "Did you mean 'sigma'"]),
        ({"sigma": "abc"}, ["sigma='abc'", "a number"]),
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
