"""What is kept of a child's pipes however much it writes: lines of events, the beginning and the end of a log, a
short reason."""

from __future__ import annotations

import os
import re

import pytest

from harness.executors.pipes import EventPipe, LogPipe
from harness.jobs import short

MIB = 1 << 20


def piped(kind: type, *chunks: bytes):
    """The pipe after ``chunks`` were written to it and it was closed."""
    read, write = os.pipe()
    pipe = kind(os.fdopen(read, "rb"))
    with os.fdopen(write, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
    pipe.stop()
    return pipe


def test_events_are_lines_whatever_the_pieces_they_come_in():
    assert piped(EventPipe, b"fir", b"st\nsecond\nthi", b"rd\nrest").waiting() == ["first", "second", "third"]
    assert piped(EventPipe, b"\xff\xfe\n").waiting() == ["��"]


def test_a_line_without_an_end_is_thrown_away():
    lines = piped(EventPipe, b"x" * 5 * MIB, b"\nafter\n").waiting()
    assert lines[-1] == "after"
    assert max(map(len, lines)) < 1.2 * MIB


def test_a_short_log_is_whole():
    assert piped(LogPipe, b"one\n", b"two\n").text() == b"one\ntwo\n"


@pytest.mark.parametrize("middle", [1, 9, 40])
def test_a_long_log_keeps_its_beginning_and_its_end(middle):
    text = piped(LogPipe, b"begin" + b"a" * 3 * MIB, b"m" * middle * MIB, b"z" * 3 * MIB + b"end").text()
    assert text.startswith(b"begin" + b"a" * 3 * MIB)
    assert text.endswith(b"z" * 3 * MIB + b"end")
    assert len(text) < 8.2 * MIB
    (left_out,) = re.findall(rb"\n\[\.\.\. (\d+) bytes left out \.\.\.\]\n", text) or [b""]
    written, line = 8 + (6 + middle) * MIB, len(b"\n[... %b bytes left out ...]\n" % left_out) if left_out else 0
    assert len(text) - line + int(left_out or 0) == written


def test_a_reason_is_one_line_of_bounded_length():
    assert short("two\n  lines ") == "two lines"
    endless = short("begin " + "x" * 10**7 + " end")
    assert endless.startswith("begin xxx")
    assert len(endless) <= 510
