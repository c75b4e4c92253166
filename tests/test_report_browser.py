"""The report in a browser: Debian's Chromium through its driver.  Skipped, visibly, where either is missing."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.render.html.audit import render_audits
from reports.render.html.page import render_page
from tests.test_report import planted

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
selenium = pytest.importorskip("selenium", reason="selenium is not installed (extra dev)")
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="no chromium and chromedriver on this machine (Debian: chromium, chromium-driver)",
    ),
    pytest.mark.xdist_group("browser"),
]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NAMES = (
    "alpha",
    "beta[x=1]",
    "a_long_name[sigma=0.6,lambda_disc=0.5,coupling=sinkhorn]",
    *(f"extra-{number}" for number in range(6)),
    "gamma",
)
SITES = ("site_a", "site_b", "site_c")

CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const poor = [];
let seen = 0;
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility()) continue;
  if (element.closest("script, style, noscript, option, select, svg, .skip")) continue;
  let under = element;
  while (under && (parse(getComputedStyle(under).backgroundColor)[3] ?? 1) === 0) under = under.parentElement;
  const front = getComputedStyle(element).color;
  const back = under ? getComputedStyle(under).backgroundColor : "rgb(255, 255, 255)";
  const [high, low] = [luminance(parse(front)), luminance(parse(back))].sort((a, b) => b - a);
  seen += 1;
  const start = element.textContent.trim().slice(0, 30);
  if ((high + 0.05) / (low + 0.05) < 4.5) poor.push([element.className, start, front, back]);
}
return [seen, poor];
"""


AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
ALL_RULES: dict[str, Any] = {"resultTypes": ["violations"]}
COLOURS = {**ALL_RULES, "runOnly": ["color-contrast"]}
RUN_AXE = """
const [rules, done] = arguments;
axe.run(document, rules).then((found) => done([
  found.violations.map((each) => [each.id, each.impact, each.nodes.map((node) => node.html.slice(0, 200))]),
  found.passes.map((each) => each.id),
]), (error) => done(String(error)));
"""


@pytest.fixture(scope="module")
def small_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of every kind of table and control, and few of each: what is the matter with one is the matter with all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.test_report.METRICS", ("auroc", "macro_auroc"))
        data = planted(("alpha", "gamma"), SITES[:2], seeds=(1, 2), families=1)
    records = [{"pitfall": "P1", "name": "a pitfall", "verdict": "avoided", "why": "by a mechanism"}]
    file = tmp_path_factory.mktemp("small") / "report.html"
    file.write_text(render_page(replace(data, details={"pitfalls": records})), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render_page(planted(NAMES, SITES)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, "--window-size=1400,1000", f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Any, page: Path) -> Iterator[Any]:
    """The page, freshly opened; afterwards nothing may have been logged or asked of a network."""
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    chromium.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1400, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    )
    chromium.get("about:blank")
    for log in ("browser", "performance"):
        chromium.get_log(log)  # what came before does not count
    chromium.get(page.as_uri())
    yield chromium
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}


def visible(browser: Any, selector: str) -> list[Any]:
    """One call for all elements: asking each whether it is displayed takes a second per hundred."""
    found: list[Any] = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility())", selector
    )
    return found


def texts(browser: Any, selector: str) -> list[str]:
    """The first line of every visible element, as rendered."""
    script = (
        "return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility()).map((e) => e.innerText)"
    )
    return [text.strip().partition("\n")[0] for text in browser.execute_script(script, selector)]


def choose(browser: Any, selector: str, text: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(visible(browser, selector)[0]).select_by_visible_text(text)


def test_the_first_screen_has_verdict_and_tiles_and_the_caveats_are_one_fold_below(browser):
    """Printing opens what is folded; the forest has a row for every row with a mean."""
    verdict = browser.find_element("id", "verdict")
    sentences = [each.text for each in verdict.find_elements("css selector", "p")]
    assert any("is first in the cross mean of AUROC" in line or "first together" in line for line in sentences)
    assert any(line.startswith("Do not conclude") for line in sentences)
    tiles = verdict.find_elements("css selector", ".tiles li")
    assert [tile.text.splitlines()[0] for tile in tiles][:2] == ["Best within a network", "Best across networks"]
    assert "target−only" not in verdict.text  # a hyphen is no minus
    caveats = verdict.find_element("css selector", "details")
    assert not caveats.find_element("css selector", "li").is_displayed()
    means = [row for row in planted(NAMES, SITES).first["rows"] if row["summary"]["cross_mean"] is not None]
    assert len(browser.find_elements("css selector", ".forest .row[data-d]")) == len(means)
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert caveats.find_element("css selector", "li").is_displayed()


def test_sorting_by_mouse_and_keyboard(browser):
    from selenium.webdriver.common.keys import Keys

    rows = planted(NAMES, SITES).first["rows"]
    worst = [(row["summary"]["cross_worst"], row["detector"]) for row in rows]
    there = sorted((value, name) for value, name in worst if value is not None)
    assert len(there) == 9  # gamma has none
    names = "#leaderboard tbody th"
    shown = len(visible(browser, "#leaderboard thead th"))
    assert shown < 12
    browser.find_element("id", "all-columns").send_keys(" ")
    assert len(visible(browser, "#leaderboard thead th")) > shown
    head = next(head for head in visible(browser, "#leaderboard thead th") if head.text.startswith("Cross worst"))
    button = head.find_element("css selector", "button")
    button.click()
    assert texts(browser, names) == [name for _, name in reversed(there)] + ["gamma"]
    assert head.get_attribute("aria-sort") == "descending"
    button.send_keys(Keys.ENTER)
    assert texts(browser, names) == [name for _, name in there] + ["gamma"]
    assert head.get_attribute("aria-sort") == "ascending"
    visible(browser, "#leaderboard thead th button")[1].click()
    assert texts(browser, names) == sorted(name for _, name in worst)
    assert head.get_attribute("aria-sort") is None


def test_one_filter_for_the_whole_page(browser):
    box = visible(browser, "#filter-name")[0]
    box.send_keys("BETA")
    assert texts(browser, "#leaderboard tbody th") == ["beta[x=1]"]
    assert [caption.partition(" ·")[0] for caption in texts(browser, "#matrices caption")] == ["beta[x=1]"]
    assert texts(browser, "#legend tbody th") == ["beta[x=1]"]
    assert {
        text
        for text in texts(browser, "#families thead th button")
        if not text.startswith(("Family", "Flows", "Captures"))
    } == {"beta[x=1]"}
    assert set(texts(browser, "#alerts tbody th")) == {"beta[x=1]"}
    assert len(visible(browser, "#plot .curve")) == 1
    assert texts(browser, "#filter-count") == ["1 of 10 detectors"]
    box.clear()
    box.send_keys("a")
    choose(browser, "#filter-provenance", "original")
    assert texts(browser, "#leaderboard tbody th") == ["alpha"]
    choose(browser, "#filter-provenance", "all")
    visible(browser, "#filter-complete")[0].click()
    assert "gamma" not in texts(browser, "#leaderboard tbody th")


def test_the_slider_gives_the_number_worked_out_by_hand(browser, page):
    from selenium.webdriver.common.keys import Keys

    written = re.findall(r'class="n fa"[^>]*>([^<]*)', page.read_text())
    shown = browser.execute_script("return [...document.querySelectorAll('.fa')].map((cell) => cell.firstChild.data)")
    assert shown == written  # the script and the page's maker agree
    choose(browser, "#alerts select[data-choose]", "P99 of calibration flows B")
    assert set(texts(browser, "#alerts .fa")) == {"9,990"}  # 1 000 000 · .999 · .01
    slider = visible(browser, "#base-rate")[0]
    for _ in range(4):
        slider.send_keys(Keys.ARROW_LEFT)  # four quarters of a decade: 1e-4
    assert texts(browser, "#base-rate-text") == ["1 attack in 10,000 flows (0.010 %)"]
    assert set(texts(browser, "#alerts .fa")) == {"9,999"}
    assert set(texts(browser, "#alerts .ta")) == {"90"}
    assert set(texts(browser, "#alerts .ppv")) == {"0.89 %"}  # 90 / (90 + 9 999)
    # 999 900 · (.0081, .0122) = (8 099.19, 12 198.78)
    assert visible(browser, "#alerts .fa small")[0].text == "8,099 to 12,199"
    flows = visible(browser, "#flows")[0]
    flows.clear()
    flows.send_keys("2000")
    assert set(texts(browser, "#alerts .fa")) == {"20"}
    choose(browser, "#alerts select[data-choose]", "P95 of calibration flows B")
    assert set(texts(browser, "#alerts .fa")) == {"–"}  # too few false alerts to tell


def test_choices_show_one_table_at_a_time(browser):
    assert len(visible(browser, "#leaderboard table")) == 1
    choose(browser, "#leaderboard select", "macro AUROC")
    assert [caption.partition(" per")[0] for caption in texts(browser, "#leaderboard caption")] == ["macro AUROC"]
    assert all("· macro AUROC ·" in caption for caption in texts(browser, "#matrices caption"))
    choose(browser, "#families select", "target only (control)")
    assert all("source: target only (control)" in caption for caption in texts(browser, "#families caption"))
    choose(browser, "#alert-source", "site_b")
    assert {row.get_attribute("data-source") for row in visible(browser, "#alerts tbody tr")} == {"site_b"}


def test_curves_follow_the_choice_and_can_be_switched_off(browser):
    assert len(visible(browser, "#plot .curve")) == 8
    box = visible(browser, "#legend input")[0]
    box.click()
    assert len(visible(browser, "#plot .curve")) == 7
    choose(browser, "#curve-target", "site_b")
    choose(browser, "#curve-axis", "linear")
    assert "→ site_b" in texts(browser, "#legend caption")[0]
    path = visible(browser, "#plot .curve")[0].get_attribute("d")
    assert re.match(r"M52\.0 [\d.]+(H[\d.]+V[\d.]+)+$", path)
    assert path.endswith("V10.0")  # TPR 1 at FPR 1


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_every_text_can_be_read(browser, theme):
    media = {"media": "print"} if theme == "print" else {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (
        background == {"light": "rgb(253, 253, 252)", "dark": "rgb(21, 23, 26)", "print": "rgb(255, 255, 255)"}[theme]
    )
    seen, poor = browser.execute_script(CONTRAST)
    assert seen > 300
    assert poor == []


@pytest.mark.parametrize("width", [400, 1400])
def test_only_tables_scroll_sideways(browser, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [400, 1400])
def test_no_text_runs_out_of_its_cell(browser, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    script = (
        "return [...document.querySelectorAll('td, th')].filter((e) => e.checkVisibility() && e.scrollWidth > "
        "e.clientWidth + 1)"
    )
    assert browser.execute_script(f"{script}.map((e) => e.innerText)") == []


def test_bars_of_the_forest_are_seen_on_a_telephone_below_whole_names(browser):
    """The axis of means fits its width, whatever the names; only gains are scrolled to."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    script = """return [...document.querySelectorAll('.forest .row[data-d]')].map((row) => {
        const [name, dot] = ['span', 'circle'].map((part) => row.querySelector(part).getBoundingClientRect());
        return [row.querySelector('span').innerText, name.right, name.bottom, dot.left, dot.right, dot.top];
    })"""
    rows = browser.execute_script(script)
    assert {name.rstrip(" †") for name, *_ in rows} <= set(NAMES)
    for _, end, bottom, left, right, top in rows:
        assert max(end, right) <= 390
        assert left > 0
        assert top >= bottom


def audit_of(name: str) -> dict[str, Any]:
    """A document of an audit, written down: one measure of every status, a long detail, a table."""
    statuses = ("error", "warning", "note", "ok", "measured", "not applicable")
    measures = [
        {
            "key": f"{kind}.{status.split()[0]}",
            "what": f"what was measured of {kind}",
            "unit": "share",
            "value": None if status == "not applicable" else 0.25,
            "detail": {"reason": "one class only"}
            if status == "not applicable"
            else {"a_family_with_a_long_name": 0.5},
            "status": status,
        }
        for kind in ("coverage", "families")
        for status in statuses
    ]
    findings = [
        {"severity": status, "text": f"{status} <b>&amp;</b> of a family_with_a_very_long_name", "action": "look at it"}
        for status in statuses[:3]
    ]
    table = {"title": "Families", "columns": ["family", "flows", "twins"], "units": ["text", "count", "share"]}
    return {
        "dataset": name, "synthetic": True, "benign": 1200, "attack": 34, "seed": 42, "hash": "0" * 64,
        "audit_version": 4, "partition": {"kind": "grouped", "reason": ""}, "findings": findings, "measures": measures,
        "tables": [table | {"rows": [["web", 1200, 0.125], ["a_family_with_a_very_long_name", 34, None]]}],
    }  # fmt: skip


def test_the_page_of_audits_is_legible_in_both_themes_on_wide_and_narrow_screens(chromium, tmp_path):
    names = ["one_network", "another_network_with_a_long_name"]
    channels = {"sizes": [[0.1, 0.95], [0.95, None]], "window": [[0.05, 0.4], [0.4, 0.7]]}
    by = {name: [["size_mean", "size_max"], ["size_max", ""]] for name in channels}
    shared = [{"text": f"840 flows (100.0% of the smaller) stand in {names[0]} and in {names[1]}"}]
    apart = {"datasets": names, "values": channels, "by": by, "shared": shared}
    file = tmp_path / "audit.html"
    file.write_text(render_audits([audit_of(name) for name in names], apart), encoding="utf-8")
    for width in (390, 1600):
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for theme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": theme}]
            chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
            chromium.get(file.as_uri())
            folded = chromium.find_elements("css selector", "details")
            assert len(folded) == 6
            assert not any(each.get_attribute("open") for each in folded)
            chromium.execute_script("for (const e of document.querySelectorAll('details')) e.open = true")
            seen, poor = chromium.execute_script(CONTRAST)
            assert seen > 150
            assert poor == []
            assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    words = chromium.find_element("css selector", "main").text
    assert "error <b>&amp;</b> of a family_with_a_very_long_name" in words  # escaped, not obeyed
    assert all(status in words for status in ("error", "warning", "note", "ok", "measured", "not applicable"))
    assert words.count("To do: look at it.") == 6
    assert f"warning {shared[0]['text']}" in words
    assert chromium.get_log("browser") == []


def test_no_matrix_lies_over_another_one_in_print(browser):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    script = """
    for (const cell of document.querySelectorAll('#matrices td')) cell.style.minWidth = '14rem';
    return [...document.querySelectorAll('#matrices table')].filter((e) => e.checkVisibility()).map((e) => {
      const box = e.getBoundingClientRect(); return [box.left, box.right, box.top, box.bottom]; });
    """
    boxes = browser.execute_script(script)
    assert len(boxes) > 5
    for place, (left, right, top, bottom) in enumerate(boxes):
        assert not any(a < right and left < b and c < bottom and top < d for a, b, c, d in boxes[place + 1 :])


def test_it_prints(browser):
    printed = base64.b64decode(
        browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": False})["data"]
    )
    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 3


@pytest.mark.parametrize(("theme", "rules"), [("light", ALL_RULES), ("dark", COLOURS)])
def test_axe_finds_nothing_serious(chromium, small_page, theme, rules):
    """All rules in one theme; in the other those that a theme can break."""
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    chromium.get(small_page.as_uri())
    chromium.execute_script(AXE.read_text(encoding="utf-8"))
    chromium.set_script_timeout(120)
    violations, passed = chromium.execute_async_script(RUN_AXE, rules)
    assert "color-contrast" in passed
    assert [each for each in violations if each[1] in ("serious", "critical")] == []


def test_axe_finds_what_is_serious(chromium, small_page):
    chromium.get(small_page.as_uri())
    chromium.execute_script(
        "document.querySelector('h1').style.color = '#ddd'; document.body.style.background = '#fff'"
    )
    chromium.execute_script(AXE.read_text(encoding="utf-8"))
    violations, _ = chromium.execute_async_script(RUN_AXE, COLOURS)
    assert [each[:2] for each in violations] == [["color-contrast", "serious"]]


def test_every_control_has_a_name(browser):
    controls = "[...document.querySelectorAll('input, select, button')]"
    nameless = browser.execute_script(
        f"return {controls}.filter((e) => !(e.labels?.length || e.textContent.trim())).map((e) => e.outerHTML)"
    )
    assert nameless == []
