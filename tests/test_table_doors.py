"""What stands at the doors of datasets of tables: which files are let in, which columns mean what, and what is said of
a dataset that is in.  The tables are SYNTHETIC and written here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from datasets_registry.audits.parts import repeated
from datasets_registry.drivers import load_driver
from harness.cli.prepare import _about
from janus_bench.params import build_params
from tests.test_data_tables import METER, add, home, write

assert home  # a fixture


def metered(port: int, time: str, label: str = "BENIGN") -> list[str]:
    """A row of CICFlowMeter, told from others by its source port."""
    numbers = ["1" for _ in METER[7:-1]]
    return ["f", "10.0.0.1", str(port), "10.0.0.2", "80", "6", time, *numbers, label]


# --- what is said of a dataset


def test_two_captures_of_one_flow_are_the_same_two_whichever_saw_it_first(home, tmp_path):
    def rows(first: range) -> list[list[str]]:
        return [metered(1024 + i, f"2017-07-03 09:00:{i:02}.{0 if i in first else 5}") for i in range(20)]

    paths = [write(tmp_path / "b.csv", METER, rows(range(13))), write(tmp_path / "a.csv", METER, rows(range(13, 20)))]
    store = add(home, paths, "cicflowmeter")
    labels = store.labels()
    # An audit is of packets, but what stands in two captures is told by the flows alone.
    view: Any = SimpleNamespace(attack=labels["attack"].to_numpy(), capture=(labels["source"] == "a.csv").to_numpy())
    found = repeated(view, store)
    assert found.measures[0].detail == {"benign": 20, "attack": 0, "a.csv and b.csv": 20}
    assert "20 flows (50.0% of their class) stand in two captures, 20 of them in a.csv and b.csv" in (
        found.findings[0].text
    )


def test_a_defect_that_an_option_mends_is_none_of_a_dataset_that_was_made_with_it():
    driver, known = load_driver("cicids2017"), {}
    for labels in ("original", "corrected"):
        options = build_params(driver.name, driver.options, {"labels": labels}, kind="dataset")
        known[labels] = _about(driver, "x", options)["known_defects"]
    (mended,) = set(known["original"]) - set(known["corrected"])
    assert "use labels=corrected" in mended
    assert known["corrected"] == list(driver.defects)
