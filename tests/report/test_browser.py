"""The page in a real browser: filters, order, pages, keyboard, and texts that would like to run."""

import shutil
import time

import pytest

selenium = pytest.importorskip("selenium")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

from mmadapter.report.page import write_report  # noqa: E402
from tests.report.conftest import HOSTILE, N, only  # noqa: E402

pytestmark = pytest.mark.browser
PAGE = 20


@pytest.fixture(scope="module")
def chromium():
    binary = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("there is no Chromium with its driver here")
    options = Options()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as browser:
        yield browser


@pytest.fixture(scope="module")
def file(case, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(only(case.scored, "multimodal", "text"), path)
    return path


@pytest.fixture
def browser(chromium, file):
    """The page of two systems, freshly loaded at a desktop's size; the console must stay empty."""
    size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    still = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", still)  # or a click misses what is still moving
    chromium.get(file.as_uri())
    yield chromium
    assert chromium.get_log("browser") == []
    assert chromium.execute_script("return window.broken") is None


def count(browser) -> int:
    return int(browser.find_element(By.CSS_SELECTOR, "#count b").text.replace(",", ""))


def pids(browser) -> list[str]:
    return [shown.text for shown in browser.find_elements(By.CSS_SELECTOR, "article .meta b")]


def choose(browser, field: str, value: str) -> None:
    Select(browser.find_element(By.ID, field)).select_by_visible_text(value)


def right(case, system: int) -> dict[str, bool]:
    frame = case.scored.systems[system].frame.set_index("pid")
    return {p.pid: frame.loc[p.pid, "prediction"] == p.answer for p in case.scored.data}


def test_every_question_is_listed_in_the_order_asked(browser, case):
    assert count(browser) == N
    assert pids(browser) == list(case.asked)[:PAGE]
    browser.find_element(By.ID, "next").click()
    assert pids(browser) == list(case.asked)[PAGE : 2 * PAGE]
    assert browser.find_element(By.ID, "page").text == "page 2 of 3"
    browser.find_element(By.ID, "last").click()
    assert pids(browser) == list(case.asked)[2 * PAGE :]
    assert not browser.find_element(By.ID, "next").is_enabled()
    browser.find_element(By.ID, "first").click()
    assert not browser.find_element(By.ID, "previous").is_enabled()


def test_words_and_fields_filter_together(browser, case):
    search = browser.find_element(By.ID, "search")
    search.send_keys("NUMBER 1")
    expected = [pid for n, pid in enumerate(case.asked) if "1" in f"{pid} {n} {case.asked[pid]}"]
    assert pids(browser) == [pid for pid in expected if "number" in case.asked[pid]["question"]][:PAGE]
    search.clear()
    search.send_keys("106")
    assert pids(browser) == ["106"]
    search.clear()
    search.send_keys(" ")
    choose(browser, "subject", "social science")
    choose(browser, "context", "image")
    expected = [pid for pid, r in case.asked.items() if r["subject"] == "social science" and r["image"]]
    assert count(browser) == len(expected)
    assert pids(browser) == expected[:PAGE]
    choose(browser, "grade", "2")
    assert pids(browser) == [pid for pid in expected if case.asked[pid]["grade"] == "grade2"]
    choose(browser, "topic", "verbs")
    assert count(browser) == 0
    assert "none fits" in browser.find_element(By.ID, "count").text
    browser.find_element(By.CSS_SELECTOR, "#filters button[type=reset]").click()
    time.sleep(0.1)
    assert count(browser) == N


def test_outcomes_of_both_systems(browser, case):
    a, b = right(case, 0), right(case, 1)
    choose(browser, "outcome-0", "right")
    choose(browser, "outcome-1", "not right")
    expected = [pid for pid in a if a[pid] and not b[pid]]
    assert pids(browser) == expected[:PAGE]
    assert f"multimodal {100:.2f} %, text {0:.2f} %" in browser.find_element(By.ID, "count").text
    pressed = browser.find_elements(By.CSS_SELECTOR, "#quick button[aria-pressed=true]")
    assert [button.text for button in pressed] == [f"only multimodal: {len(expected)}"]
    browser.find_element(By.XPATH, "//button[starts-with(text(), 'both wrong')]").click()
    assert count(browser) == sum(not a[pid] and not b[pid] for pid in a)


def test_order(browser, case):
    frame = case.scored.systems[0].frame.set_index("pid")
    confidence = {pid: max(frame.loc[pid, "probabilities"]) for pid in case.asked}
    choose(browser, "sort", "multimodal: least confident first")
    assert pids(browser) == sorted(case.asked, key=lambda pid: round(confidence[pid], 4))[:PAGE]
    choose(browser, "sort", "multimodal: most confident first")
    assert pids(browser) == sorted(case.asked, key=lambda pid: -round(confidence[pid], 4))[:PAGE]
    choose(browser, "sort", "grade, lowest first")
    assert pids(browser) == sorted(case.asked, key=lambda pid: int(case.asked[pid]["grade"][5:]))[:PAGE]


def test_a_question_shows_its_options_probabilities_and_explanation(browser, case):
    browser.find_element(By.ID, "search").send_keys("101")
    article = browser.find_element(By.TAG_NAME, "article")
    record = case.asked["101"]
    frame = case.scored.systems[0].frame.set_index("pid")
    rows = article.find_elements(By.CSS_SELECTOR, "table.options tbody tr")
    assert len(rows) == len(record["choices"])
    for place, row in enumerate(rows):
        cells = row.find_elements(By.TAG_NAME, "td")
        assert f"{frame.loc['101', 'probabilities'][place] * 100:.1f} %" in cells[0].text
        verdict = "right" if place == record["answer"] else "wrong"
        assert (verdict in cells[0].text) is (int(frame.loc["101", "prediction"]) == place)
        assert ("answer" in row.find_element(By.TAG_NAME, "th").text.split()) is (place == record["answer"])
    picture = article.find_element(By.TAG_NAME, "img")
    assert picture.get_attribute("alt") == 'Picture of question 101: A map. "101"'
    browser.execute_script("arguments[0].scrollIntoView()", picture)
    for _ in range(50):
        if browser.execute_script("return arguments[0].complete", picture):
            break
        time.sleep(0.05)
    assert browser.execute_script("return arguments[0].naturalWidth", picture) == 64
    article.find_element(By.TAG_NAME, "summary").click()
    assert HOSTILE[3] in article.text
    assert record["lecture"] in article.text


def test_hostile_texts_are_shown_and_do_nothing(browser):
    assert browser.find_element(By.CSS_SELECTOR, "article:nth-child(2) h3").text.endswith(HOSTILE[1])
    made = browser.execute_script(
        "return document.querySelectorAll('#list script, #list [onerror], #list [onload]').length"
    )
    assert made == 0


def test_the_keyboard_is_enough(browser):
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the questions"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("id") == "search"
    browser.switch_to.active_element.send_keys("103", Keys.ENTER)
    assert pids(browser) == ["103"]
    for _ in range(20):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element.get_attribute("title") == "Enlarge":
            break
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    dialog = browser.find_element(By.ID, "enlarged")
    assert dialog.is_displayed()
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert browser.switch_to.active_element.get_attribute("title") == "Enlarge"


def test_turning_a_page_moves_the_focus_to_it(browser, case):
    browser.find_element(By.ID, "next").send_keys(Keys.ENTER)
    focused = browser.switch_to.active_element
    assert focused.tag_name == "article"
    assert focused.find_element(By.CSS_SELECTOR, ".meta b").text == list(case.asked)[PAGE]


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_the_screen(browser, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_every_question_of_sciences_test_split(chromium, scienceqa_folders, tmp_path):
    """4,241 questions, where they are: written in 20 s, below 30 MB, filtered in 0.1 s."""
    import numpy as np
    import pandas as pd

    from mmadapter.data import load_dataset
    from mmadapter.runs.collect import collect

    folder = scienceqa_folders[-1]
    rng, rows = np.random.default_rng(0), []
    for problem in load_dataset("scienceqa", [folder])["test"]:
        probabilities = rng.dirichlet(np.ones(len(problem.choices)))
        rows.append((problem.pid, int(probabilities.argmax()), probabilities.tolist()))
    if len(rows) != 4241:
        pytest.skip("the last folder of MMADAPTER_SCIENCEQA holds not all test questions")
    files = [tmp_path / f"{name}.parquet" for name in ("a", "b")]
    for file in files:
        pd.DataFrame(rows, columns=["pid", "prediction", "probabilities"]).to_parquet(file)
    scored = collect([], files, dataset="scienceqa", data_dir=[folder])
    start = time.perf_counter()
    write_report(scored, tmp_path / "report.html")
    assert time.perf_counter() - start < 20
    assert (tmp_path / "report.html").stat().st_size < 30 * 2**20
    chromium.get((tmp_path / "report.html").as_uri())
    milliseconds = chromium.execute_script("""
        const took = [];
        const set = (id, value) => {
          const field = document.getElementById(id);
          field.value = value;
          const start = performance.now();
          field.dispatchEvent(new Event(id === "search" ? "input" : "change"));
          document.body.offsetHeight; // lay it out
          took.push(performance.now() - start);
        };
        set("search", "magnet"); set("search", ""); set("context", "image"); set("outcome-0", "wrong");
        set("sort", "a: least confident first");
        return took;
    """)
    assert max(milliseconds) < 100, milliseconds
    assert chromium.get_log("browser") == []
