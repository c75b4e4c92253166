"""What the long campaign of faults found, each in small (docs/faults.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datasets_registry.tables.layouts import layout_of
from harness.request import RunRequest, checked
from janus_bench.errors import DataError, UsageError
from janus_bench.files import write_atomically
from janus_bench.plugins import load_detector
from reports.results.folder import read_plan
from tests import test_site_view as planted


@pytest.mark.parametrize("version", [{"a": None}, "2"])
def test_a_plan_whose_version_is_no_number_is_damaged(tmp_path: Path, version: Any) -> None:
    plan = next((planted.write(tmp_path / "runs", seeds=(1,)) / "plans").glob("*.json"))
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "schema_version": version}))
    with pytest.raises(DataError, match=r"is damaged .*delete it and run again"):
        read_plan(plan)


def test_a_plan_without_its_version_is_one_of_this_version_if_its_key_says_so(tmp_path: Path) -> None:
    plan = next((planted.write(tmp_path / "runs", seeds=(1,)) / "plans").glob("*.json"))
    fields = json.loads(plan.read_text())
    del fields["schema_version"]
    plan.write_text(json.dumps(fields))
    assert read_plan(plan).key == plan.stem
    plan = plan.rename(plan.with_stem("0" * 16))
    with pytest.raises(DataError, match="is damaged"):
        read_plan(plan)


def test_a_link_to_itself_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "kept.json").symlink_to(tmp_path / "kept.json")
    write_atomically(tmp_path / "kept.json", b"{}")
    assert (tmp_path / "kept.json").read_bytes() == b"{}"


def test_parameters_from_a_device_that_never_ends_are_one_line() -> None:
    request = RunRequest("within", ["length"], [], (1,), "quick", "grouped", False, "cpu", Path("/dev/zero"))
    with pytest.raises(UsageError, match="longer than 1 MiB"):
        checked(request, str)


@pytest.mark.parametrize("read", [layout_of, lambda path: load_detector(f"exec:{path}")])
def test_so_are_other_settings(tmp_path: Path, read: Any) -> None:
    (tmp_path / "endless.toml").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match=r"endless\.toml: longer than 1 MiB"):
        read(str(tmp_path / "endless.toml"))
