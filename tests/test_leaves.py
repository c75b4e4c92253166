"""The small pieces that every floor uses: atomic files, ragged arrays, the callback of nobody."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_bench.files import remove_folder, write_atomically
from janus_bench.quiet import ignore
from janus_bench.ragged import positions, starts_of


def test_a_file_is_written_replaced_and_readable_by_all(tmp_path):
    path = tmp_path / "document.json"
    assert write_atomically(path, b"one")
    assert write_atomically(path, "zwei €")
    assert path.read_text(encoding="utf-8") == "zwei €"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_exclusive_keeps_what_is_there_and_says_so(tmp_path):
    path = tmp_path / "result.json"
    assert write_atomically(path, b"first", exclusive=True)
    assert not write_atomically(path, b"second", exclusive=True)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_garbage(tmp_path, monkeypatch, step):
    path = tmp_path / "document.json"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync" if step == "fsync" else "pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(path, b"new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "nowhere" / "document.json"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path, b"")
    assert caught.value.filename == str(path)


def nested(folder, depth):
    """So many folders in each other, deeper than Python's recursion."""
    folder.mkdir()
    here = Path.cwd()
    os.chdir(folder)
    for _ in range(depth):
        Path("d").mkdir()
        os.chdir("d")
    os.chdir(here)


def test_a_folder_goes_however_deep_it_is_and_whatever_may_not_be_written_to_in_it(tmp_path):
    nested(tmp_path / "deep", 1200)
    remove_folder(tmp_path / "deep")
    remove_folder(tmp_path / "never")
    with tempfile.TemporaryDirectory() as open_to_all:
        Path(open_to_all).chmod(0o777)
        if os.getuid() == 0:
            os.seteuid(65534)  # a root may write anywhere
        try:
            locked = Path(open_to_all) / "stage" / "locked"
            locked.mkdir(parents=True)
            (locked / "file").touch()
            locked.chmod(0o500)
            remove_folder(locked.parent)
            assert not locked.parent.exists()
        finally:
            os.seteuid(os.getuid())
    assert list(tmp_path.iterdir()) == []


@given(lengths=st.lists(st.integers(0, 5), max_size=8), data=st.data())
def test_gathered_runs_are_the_slices_one_after_the_other(lengths, data):
    starts = starts_of(np.array(lengths, dtype=np.int64))
    assert starts.tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    column = np.arange(100, 100 + sum(lengths))
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=10)) if lengths else []
    index = np.array(chosen, dtype=np.int64)
    expected = [value for i in chosen for value in column[starts[i] : starts[i + 1]].tolist()]
    assert column[positions(starts[:-1][index], np.diff(starts)[index])].tolist() == expected


def test_nobody_listens_to_anything():
    assert ignore() is ignore(0.5, "half") is None
