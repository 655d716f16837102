"""The page of many runs in a real browser: Chromium, driven by selenium; skipped without them."""

from __future__ import annotations

import json
import os
import shutil
import threading

import pytest

from nnw_onnx.reports.documents import write_pages
from nnw_onnx.reports.view import Gallery, serving

from ..fuzz.run_folders import write_run  # noqa: TID252 - shared by several rooms' tests
from ..measures.made import invented  # noqa: TID252 - likewise

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402 - what comes after the skip
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with its chromedriver here"),
    pytest.mark.xdist_group("browser"),
]
HOSTILE = "<img src=x onerror='hacked=1'><script>hacked=1</script>\u202e{{7*7}}"
DESK, PHONE = (1280, 900), (390, 844)
OWN = "#run={one}", "#compare={one},{two}", "#compare={many}", "#cell={one}.0.1", "#cell={many}.3"
VIEWS = ("", "#modification=quantizing", "#run={many}", "#run={one}&show=ser", *OWN)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    plan, *rest = invented(2, 4, 2, 2, 20).parts
    write_run(folder / "one", plan, *rest)
    write_run(folder / "two", plan.model_copy(update={"title": HOSTILE}), *rest)
    write_run(folder / "many", *invented(12, 7, 1, 1, 20, seed=3).parts)
    write_run(folder / "sick", plan, *rest)
    (folder / "sick" / "records.jsonl").write_text("{}\n")
    return folder


@pytest.fixture(scope="module")
def keys(runs):
    gallery = Gallery(runs, live=True)
    gallery.refresh()
    _, _, found = dict(gallery.files())["data/runs.js"].decode().partition("(")
    return {entry["name"]: entry["key"] for entry in json.loads(found[:-3])}


@pytest.fixture(scope="module")
def address(runs):
    gallery = Gallery(runs, live=True)
    gallery.refresh()
    with serving(gallery, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium has none for root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium):
    """One that must have nothing to complain of in the end, such as of its security policy."""
    resized(chromium, DESK)
    chromium.get_log("browser")
    yield chromium
    assert chromium.get_log("browser") == []


def resized(browser, size, *, dark=False):
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def opened(browser, url):
    browser.get("about:blank")  # else only the hash would change, and nothing be loaded
    browser.get(url)
    settled(browser)


def settled(browser):
    """Wait until what the address asks for is there."""
    ready = (
        "return document.title.includes('watermark evaluations')"
        " && !document.querySelector('script[src*=data]')"
    )
    WebDriverWait(browser, 20).until(lambda b: b.execute_script(ready))


def until(browser, condition):
    return WebDriverWait(browser, 20).until(condition)


def names(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('.runs tbody th > :first-child')]"
        ".map(e => e.innerText)"
    )


def choose(browser, name, text):
    Select(browser.find_element(By.NAME, name)).select_by_visible_text(text)


def hash_of(browser):
    return browser.execute_script("return decodeURIComponent(location.hash)")


def test_the_list_shows_every_run_and_the_reason_of_a_damaged_one(browser, address):
    opened(browser, address)
    assert sorted(names(browser)) == ["many", "one", "sick", "two"]
    reason = "! cannot be shown: records.jsonl, line 1: expected a record"
    assert reason in browser.find_element(By.ID, "main").text
    assert "4 runs; 1 cannot be shown" in browser.find_element(By.ID, "main").text


def test_filters_choose_runs_and_stand_in_the_address(browser, address):
    opened(browser, address)
    methods = Select(browser.find_element(By.NAME, "method")).options
    only_many = next(
        option.text
        for option in methods[1:]
        if option.text not in browser.find_element(By.XPATH, "//tr[th/a[text()='one']]").text
    )
    choose(browser, "method", only_many)
    assert names(browser) == ["many"]
    assert hash_of(browser) == f"#method={only_many}"
    opened(browser, browser.current_url)
    assert names(browser) == ["many"]
    choose(browser, "method", "all methods")
    assert sorted(names(browser)) == ["many", "one", "sick", "two"]
    assert hash_of(browser) in ("", "#")


def test_a_chosen_modification_shows_what_survives_it(browser, address):
    opened(browser, address)
    options = Select(browser.find_element(By.NAME, "modification")).options
    name = options[1].text
    choose(browser, "modification", name)
    assert (
        browser.find_element(By.CSS_SELECTOR, ".runs thead th:last-child").text == f"Under {name}"
    )
    browser.find_element(By.CSS_SELECTOR, ".runs .chips a").click()
    settled(browser)
    assert hash_of(browser).startswith("#cell=")


def test_words_are_searched_for_and_runs_sorted(browser, address):
    opened(browser, address)
    choose(browser, "sort", "Name")
    assert names(browser) == ["many", "one", "sick", "two"]
    field = browser.find_element(By.NAME, "q")
    field.send_keys("SICK")
    assert names(browser) == ["sick"]
    assert browser.switch_to.active_element == field
    field.send_keys(Keys.BACKSPACE * 4, "no such run")
    assert names(browser) == []
    assert "0 of 4 runs" in browser.find_element(By.ID, "main").text


def test_what_runs_say_is_shown_and_not_obeyed(browser, address, keys):
    opened(browser, address + f"#run={keys['two']}")
    assert browser.find_element(By.TAG_NAME, "h1").text == HOSTILE.replace("\u202e", "\\u202e")
    assert browser.execute_script("return [typeof hacked, document.images.length]") == [
        "undefined",
        0,
    ]


def test_runs_are_compared_side_by_side(browser, address, keys):
    opened(browser, address)
    for name in ("one", "two"):
        browser.find_element(By.CSS_SELECTOR, f"[aria-label='Compare {name}']").click()
    browser.find_element(By.LINK_TEXT, "Compare 2 runs").click()
    settled(browser)
    assert hash_of(browser) == f"#compare={keys['one']},{keys['two']}"
    assert len(browser.find_elements(By.CSS_SELECTOR, ".m thead th")) == 1 + 4
    assert "not comparable" not in browser.find_element(By.ID, "main").text
    browser.find_element(By.CSS_SELECTOR, "[aria-label^='Leave out']").click()
    until(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, ".m thead th")) == 1 + 3)
    choose(browser, "add", next(
        option.text
        for option in Select(browser.find_element(By.NAME, "add")).options
        if option.text.startswith("many: ") and option.text != "many: all"
    ))  # fmt: skip
    until(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, ".m thead th")) == 1 + 4)
    assert "These runs have different networks" in browser.find_element(By.ID, "main").text


def test_many_technologies_are_rows(browser, address, keys):
    opened(browser, address + f"#run={keys['many']}")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".m tbody th[scope=row]")) == 12
    heads = browser.find_elements(By.CSS_SELECTOR, ".m thead th")
    assert len(heads) == 1 + 4 + 7


def test_a_quantity_takes_the_place_of_verdicts(browser, address, keys):
    opened(browser, address + f"#run={keys['one']}")
    assert browser.find_elements(By.CSS_SELECTOR, ".m .strip")
    choose(browser, "show", "Symbol Error Rate, %")
    until(browser, lambda b: not b.find_elements(By.CSS_SELECTOR, ".m .strip"))
    assert "show=ser" in hash_of(browser)
    until(browser, lambda b: b.switch_to.active_element.get_attribute("name") == "show")
    assert browser.find_elements(By.CSS_SELECTOR, ".m .values")
    choose(browser, "show", "Verdicts")
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".m .strip"))


def test_a_cell_opens_down_to_its_records(browser, address, keys):
    opened(browser, address + f"#run={keys['one']}")
    browser.find_element(By.CSS_SELECTOR, ".m tbody:nth-of-type(2) td a").click()
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".records tbody tr"))
    assert browser.switch_to.active_element.tag_name == "h1"
    text = browser.find_element(By.CSS_SELECTOR, ".records thead").text
    for head in (
        "Network",
        "Carries",
        "Detected",
        "−log₁₀ p",
        "Statistic",
        "Symbols wrong",
        "Record",
    ):
        assert head in text.replace("\n", " ")
    rows = len(browser.find_elements(By.CSS_SELECTOR, ".records tbody tr"))
    choose(browser, "of", "Without the watermark")
    fewer = browser.find_elements(By.CSS_SELECTOR, ".records tbody tr")
    assert 0 < len(fewer) < rows
    assert all("nothing" in row.text for row in fewer)
    browser.find_element(By.ID, "by-log10_p").click()
    values = [float(v) for v in column(browser, "by-log10_p") if v != "–"]
    assert values == sorted(values)
    browser.find_element(By.ID, "by-log10_p").click()
    assert browser.find_element(By.CSS_SELECTOR, "[aria-sort=descending]").text.startswith(
        "−log₁₀ p"
    )
    assert browser.switch_to.active_element.get_attribute("id") == "by-log10_p"
    falling = [float(v) for v in column(browser, "by-log10_p") if v != "–"]
    assert falling == values[::-1]
    browser.back()


def column(browser, head):
    place = browser.execute_script(
        "return document.getElementById(arguments[0]).closest('th').cellIndex", head
    )
    return [
        e.text
        for e in browser.find_elements(By.CSS_SELECTOR, f".records td:nth-child({place + 1})")
    ]


def test_a_run_that_is_gone_is_told(browser, address):
    opened(browser, address + "#run=no-such-run")
    assert browser.find_element(By.ID, "told").text.startswith("Expected a run of this folder, got")


@pytest.mark.parametrize("dark", [False, True])
def test_no_view_is_wider_than_a_phone(browser, address, keys, dark):
    resized(browser, PHONE, dark=dark)
    for view in VIEWS:
        opened(browser, address + view.format(**keys))
        widths = "return [document.documentElement.scrollWidth, innerWidth]"
        assert browser.execute_script(widths) == [390, 390], view


def test_no_view_is_wider_than_a_desk(browser, address, keys):
    for view in VIEWS:
        opened(browser, address + view.format(**keys))
        widths = "return document.documentElement.scrollWidth - innerWidth"
        assert browser.execute_script(widths) <= 0, view


def test_everything_asked_of_a_reader_has_a_name_and_tables_have_heads(browser, address, keys):
    for view in VIEWS:
        opened(browser, address + view.format(**keys))
        nameless = browser.execute_script(
            "return [...document.querySelectorAll('input, select, button, a[href]')]"
            ".filter(e => !e.getAttribute('aria-label') && !(e.labels && e.labels.length)"
            " && !e.textContent.trim()).map(e => e.outerHTML)"
        )
        assert nameless == [], view
        unscoped = browser.execute_script(
            "return [...document.querySelectorAll('th')]"
            ".filter(e => e.textContent && !e.scope).length"
        )
        assert unscoped == 0, view
        assert browser.find_elements(By.TAG_NAME, "h1"), view


def test_it_is_used_by_keyboard(browser, address):
    opened(browser, address)
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "To the content"
    reached = []
    for _ in range(20):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.switch_to.active_element
        reached.append(element.get_attribute("name") or element.text)
        if element.text == "one":
            break
    assert reached[:5] == ["q", "method", "modification", "measure", "sort"]
    outline = browser.switch_to.active_element.value_of_css_property("outline-style")
    assert outline == "solid"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    settled(browser)
    until(browser, lambda b: b.switch_to.active_element.tag_name == "h1")


def test_nothing_is_asked_of_anybody_else(browser, address, keys):
    opened(browser, address + f"#cell={keys['one']}.0.1")
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".records"))
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert len(asked) >= 5
    assert all(url.startswith(address) for url in asked)


def test_a_new_run_appears_when_somebody_comes_back_to_the_list(browser, address, runs):
    opened(browser, address)
    plan, *rest = invented(1, 1, 1, 1, 20).parts
    write_run(runs / "new", plan, *rest)
    try:
        browser.execute_script("dispatchEvent(new Event('focus'))")
        until(browser, lambda b: "new" in names(b))
    finally:
        shutil.rmtree(runs / "new")
    opened(browser, address)
    assert "new" not in names(browser)


def test_the_written_page_works_as_a_file(browser, runs, keys, tmp_path):
    gallery = Gallery(runs, live=False)
    gallery.refresh()
    page, *_ = write_pages(gallery.files(), tmp_path / "page", force=False)
    opened(browser, page.as_uri())
    assert sorted(names(browser)) == ["many", "one", "sick", "two"]
    opened(browser, f"{page.as_uri()}#cell={keys['one']}.1.0")
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".records tbody tr"))
