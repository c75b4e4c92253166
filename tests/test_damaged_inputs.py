"""Seeded damage to captures and label files: an account or one line comes of it, never a traceback, and finite
numbers.  ``make faults`` does more of the same (docs/faults.md)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from datasets_registry.drivers import cicddos2019, cicids2017
from datasets_registry.drivers.csv_rows import read_rows
from datasets_registry.ingest import ingest_folder
from datasets_registry.labelling.labels_csv import read_labels
from janus_bench.errors import JanusBenchError
from tests import pcap_builders as build
from tests.faults.inputs import CAPTURES, CIC, CIC_HEADER, FRAMES, LABELS, account, mutated


def account_or_one_line(read: Callable[[], object], data: bytes) -> bool:
    """Whether it was read; an error is one line, and one that a user can act on."""
    try:
        read()
    except JanusBenchError as error:
        assert "\n" not in str(error), data  # noqa: PT017
        return False
    return True


@pytest.mark.parametrize("which", range(len(CAPTURES)))
def test_damaged_captures_are_accounted_for_or_refused_in_one_line(tmp_path, which):
    noise, path, cache = random.Random(which), tmp_path / "x.pcap", tmp_path / "cache"
    read = 0
    for _ in range(60):
        data = mutated(CAPTURES[which], noise, begin=noise.choice([0, 4, 4, 24]))
        path.write_bytes(data)
        read += account_or_one_line(lambda: account(path, cache), data)
    assert read >= 20


def test_damaged_labels_are_read_or_refused_in_one_line(tmp_path):
    noise = random.Random(3)
    (tmp_path / "a.pcap").write_bytes(build.pcap(FRAMES))
    whole, read = ("\n".join(LABELS) + "\n").encode(), 0
    for _ in range(400):
        data = mutated(whole, noise, begin=noise.choice([0, len(LABELS[0])]))
        (tmp_path / "labels.csv").write_bytes(data)
        read += account_or_one_line(lambda: read_labels(tmp_path), data)
    assert read >= 5  # any value that is none refuses the whole file


def test_datasets_of_damaged_labels_and_captures_are_whole_or_absent(tmp_path):
    noise, folder, store = random.Random(4), tmp_path / "captures", tmp_path / "store"
    folder.mkdir()
    added = 0
    for case in range(60):
        capture, labels = build.pcap(FRAMES), ("\n".join(LABELS) + "\n").encode()
        (folder / "a.pcap").write_bytes(mutated(capture, noise, 24) if case % 3 else capture)
        (folder / "labels.csv").write_bytes(labels if case % 3 == 1 else mutated(labels, noise, len(LABELS[0])))
        added += account_or_one_line(lambda: ingest_folder(folder, store, name="x", stream=True), labels)
    assert added >= 10
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("driver", [cicids2017, cicddos2019])
def test_damaged_csvs_of_drivers_are_accounted_for_or_refused_in_one_line(tmp_path, driver):
    noise, path, whole = random.Random(5), tmp_path / "x.csv", ("\r\n".join(CIC) + "\r\n").encode()
    read = 0

    def rows() -> None:
        found = read_rows(path, driver.CSVS.form, driver.LABELS)
        assert found.rows.height + sum(found.left_out.values()) == found.lines
        assert sum(count for count, _ in found.faults.values()) == found.left_out["bad_rows"]

    for _ in range(200):
        data = mutated(whole, noise, begin=noise.choice([0, len(CIC_HEADER)]))
        path.write_bytes(data)
        read += account_or_one_line(rows, data)
    assert read >= 100
