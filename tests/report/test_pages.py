"""The pages in a browser: sorted, filtered, hovered and tabbed through, without an error or a request."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from tests.report.browser import ABSENT, Browser, browser
from tests.report.made_runs import evaluated, failed, image_set, predicted, swept
from zeroshot.report import draw_index, draw_run, draw_sweep

pytestmark = pytest.mark.skipif(ABSENT, reason="Debian's chromium and chromium-driver are not installed")

EVIL = "<script>alert(1)</script>"
KINDS = ("two", "hundred", "failed", "predicted", "sweep", "index")


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind."""
    root = tmp_path_factory.mktemp("outputs")
    two = image_set(60, [EVIL, "dog"])
    hundred = image_set(1000, [f"class_{i}" for i in range(100)])
    references = [{"source": "MindFormers (model card)", "top1": 0.5724}]
    made = {
        "two": draw_run(evaluated(root / "two", two, skill=2.0, prompt="plain"), two.images),
        "hundred": draw_run(evaluated(root / "hundred", hundred, references=references), hundred.images),
        "failed": draw_run(failed(root / "failed", "weights/cut.safetensors: ends after 5,000 bytes", model="tiny")),
        "predicted": draw_run(predicted(root / "predicted", 14, [EVIL, "cat", "dog"], broken=1)),
        "sweep": draw_sweep(swept(root / "sweep", ["b_32", "l_14@336"], ["plain", "photo"], images=60, fail=2)),
        "index": draw_index(root),
    }
    return {kind: page for kind, page in made.items() if page is not None}


def column(opened: Browser, table: str, number: int) -> list[str]:
    """The texts of a column, in the rows that are shown."""
    script = "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].filter(r => !r.hidden)"
    return list(
        opened.execute_script(f"{script}.map(r => r.cells[arguments[1]]?.textContent.trim() ?? '')", table, number)
    )


def button(opened: Browser, table: str, name: str) -> WebElement:
    """The button of a column's head."""
    path = f"//table[@id='{table}']//thead//button[normalize-space()='{name}']"
    return opened.find_element(By.XPATH, path)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_asks_for_nothing_complains_of_nothing_and_fits(
    opened: Browser, pages: dict[str, Path], kind: str, width: int, dark: bool
) -> None:
    opened.show(pages[kind], width, dark)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    assert opened.find_element(By.TAG_NAME, "h1").is_displayed()
    ground = opened.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    assert (int(ground.strip("rgba()").split(",")[0]) < 60) == dark
    asked = [address for address in opened.requests() if not address.startswith("data:")]
    assert asked == [pages[kind].resolve().as_uri()]
    assert opened.complaints() == []


def test_a_label_that_is_a_script_shows_as_text(opened: Browser, pages: dict[str, Path]) -> None:
    for kind in ("two", "predicted"):
        opened.show(pages[kind])
        assert EVIL in opened.find_element(By.TAG_NAME, "main").text
        ours = 'return [...document.scripts].filter(s => s.type !== "application/json").length'
        assert opened.execute_script(ours) == 1
        assert opened.complaints() == []


def test_the_table_of_classes_is_sorted_by_its_heads(opened: Browser, pages: dict[str, Path]) -> None:
    opened.show(pages["hundred"])
    assert column(opened, "class-table", 0) == [f"class_{i}" for i in range(100)]
    head = button(opened, "class-table", "Recall %")
    for direction, downwards in (("descending", True), ("ascending", False)):
        head.click()
        recalls = [float(each) for each in column(opened, "class-table", 3)]
        assert recalls == sorted(recalls, reverse=downwards)
        assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == direction
    name = button(opened, "class-table", "Class")
    name.send_keys(Keys.ENTER)
    assert column(opened, "class-table", 0) == [f"class_{i}" for i in range(100)]  # class_10 after class_9
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "none"


def test_a_sweeps_failed_runs_stay_last_however_it_is_sorted(opened: Browser, pages: dict[str, Path]) -> None:
    opened.show(pages["sweep"])
    for _ in range(2):
        button(opened, "sweep-table", "Top-1 %").click()
        tops = column(opened, "sweep-table", 3)
        assert len(tops) == 5
        assert tops[:3] in (sorted(tops[:3]), sorted(tops[:3], reverse=True))
        assert column(opened, "sweep-table", 2)[3:] != ["60", "60"]


def test_a_class_is_found_by_its_name(opened: Browser, pages: dict[str, Path]) -> None:
    opened.show(pages["hundred"])
    opened.find_element(By.ID, "class-filter").send_keys("CLASS_42")
    assert any(name == "class_42" for name in column(opened, "class-table", 0))
    output = opened.find_element(By.CSS_SELECTOR, "#classes output").text
    assert output == f"{len(column(opened, 'class-table', 0))} of 100"
    assert len(column(opened, "class-table", 0)) < 10


def test_a_prediction_is_found_by_its_file_and_its_labels(opened: Browser, pages: dict[str, Path]) -> None:
    opened.show(pages["predicted"])
    cards = opened.find_elements(By.CSS_SELECTOR, "#card-list > li")
    assert len(cards) == 14
    opened.find_element(By.ID, "card-filter").send_keys("picture_007 cat")
    assert ["picture_007.jpg" in card.text for card in cards if card.is_displayed()] == [True]


@pytest.mark.parametrize("width", [1400, 400])
def test_the_matrix_tells_the_cell_under_the_pointer(opened: Browser, pages: dict[str, Path], width: int) -> None:
    opened.show(pages["hundred"], width)
    canvas = opened.find_element(By.ID, "cells")
    opened.execute_script("arguments[0].scrollIntoView({block: 'end', behavior: 'instant'})", canvas)
    output = opened.find_element(By.ID, "cell")
    seen = set()
    for step in (0.9, 0.94, 0.98):  # down the diagonal, from the lower right end
        box = opened.execute_script("return arguments[0].getBoundingClientRect().toJSON()", canvas)
        pointer = ActionBuilder(opened)
        place = (round(box["x"] + step * box["width"]), round(box["y"] + step * box["height"]))
        pointer.pointer_action.move_to_location(*place)
        pointer.perform()
        seen.add(output.text)
    assert len(seen) == 3
    assert all("of 10 images" in text and text.startswith("class_") for text in seen)


def test_the_matrix_of_100_classes_is_readable(opened: Browser, pages: dict[str, Path]) -> None:
    opened.show(pages["hundred"])
    canvas = opened.find_element(By.ID, "cells")
    assert canvas.size["width"] >= 850  # over 7 pixels a cell, which holds a name
    colours = opened.execute_script(
        "const c = arguments[0], d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, found = new Set();"
        "for (let i = 0; i < d.length; i += 4) found.add(d.slice(i, i + 3).join()); return found.size",
        canvas,
    )
    assert colours > 10


def test_the_matrix_is_walked_with_the_keys(opened: Browser, pages: dict[str, Path]) -> None:
    opened.show(pages["two"])
    canvas, output = opened.find_element(By.ID, "cells"), opened.find_element(By.ID, "cell")
    canvas.send_keys(Keys.ARROW_RIGHT)
    assert output.text.startswith(f"{EVIL} was right: ")
    canvas.send_keys(Keys.ARROW_DOWN)
    assert output.text.startswith(f"dog taken for {EVIL}: ")
    canvas.send_keys(Keys.HOME)
    assert output.text.startswith("dog was right: ")
    canvas.send_keys("n")
    assert output.text.startswith(f"{EVIL} taken for dog: ")
    canvas.send_keys("n")
    assert output.text.startswith(f"dog taken for {EVIL}: ")


def test_the_index_is_filtered_by_model_prompt_and_text(opened: Browser, pages: dict[str, Path]) -> None:
    opened.show(pages["index"])
    everything = column(opened, "run-table", 1)
    assert len(everything) == 4 + 5
    model, prompt = (Select(opened.find_element(By.ID, f"filter-{name}")) for name in ("model", "prompt"))
    model.select_by_visible_text("b_32")
    assert set(column(opened, "run-table", 1)) == {"b_32"}
    prompt.select_by_visible_text("photo")
    assert column(opened, "run-table", 3) == ["photo"]
    assert opened.find_element(By.CSS_SELECTOR, ".tools output").text == "1 of 9"
    model.select_by_visible_text("all")
    prompt.select_by_visible_text("all")
    field = opened.find_element(By.ID, "run-filter")
    field.send_keys("cut.safetensors", Keys.ENTER)
    assert opened.current_url.startswith(pages["index"].resolve().as_uri())
    assert len(column(opened, "run-table", 1)) == 2
    field.clear()
    field.send_keys(Keys.BACKSPACE)
    assert column(opened, "run-table", 1) == everything


def test_a_link_of_the_index_leads_to_the_runs_page(opened: Browser, pages: dict[str, Path]) -> None:
    opened.show(pages["index"])
    opened.find_element(By.LINK_TEXT, opened.find_element(By.CSS_SELECTOR, "#run-table tbody a").text).click()
    assert opened.current_url.endswith("/report.html")
    assert opened.find_element(By.TAG_NAME, "h1").is_displayed()


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_walked_with_the_tab_key_from_its_head_to_its_end(
    opened: Browser, pages: dict[str, Path], kind: str
) -> None:
    opened.show(pages[kind])
    script = (
        "return [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex=\"0\"]')]"
        ".filter(e => e.checkVisibility() && !e.closest('details:not([open]) > :not(summary)')).length"
    )
    wanted = opened.execute_script(script)
    reached: list[str] = []
    for _ in range(wanted):
        ActionChains(opened).send_keys(Keys.TAB).perform()
        element = opened.switch_to.active_element
        assert element.tag_name != "body", f"the focus was lost after {len(reached)} of {wanted}"
        assert element.value_of_css_property("outline-style") != "none"
        reached.append(element.id)
    assert len(set(reached)) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_a_screen_reader_has_a_name_for_all_that_can_be_used(
    opened: Browser, pages: dict[str, Path], kind: str
) -> None:
    opened.show(pages[kind])
    roles = {"button", "link", "textbox", "searchbox", "combobox", "image", "img", "application", "region"}
    end = time.monotonic() + 10
    while True:  # Chromium builds this tree after the page is shown
        nodes = opened.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        found = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
        nameless = [node for node in found if not node.get("name", {}).get("value", "").strip()]
        if found and not nameless:
            break
        assert time.monotonic() < end, f"of {len(found)} without a name: {nameless}"
        time.sleep(0.05)
    assert len(opened.find_elements(By.TAG_NAME, "h1")) == 1
    assert opened.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"


def test_the_matrix_follows_the_window(opened: Browser, pages: dict[str, Path]) -> None:
    opened.show(pages["hundred"])
    wide = opened.find_element(By.ID, "cells").size["width"]
    size = {"width": 500, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    end = time.monotonic() + 10
    script = "const c = arguments[0]; return c.width === c.clientWidth && c.width < 500"
    canvas = opened.find_element(By.ID, "cells")
    while not opened.execute_script(script, canvas):
        assert time.monotonic() < end, "the matrix was not drawn anew"
        time.sleep(0.05)
    assert canvas.size["width"] < wide
