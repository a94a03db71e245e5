"""The page in a real browser: nothing is fetched, everything can be worked by hand and by keyboard.

A browser cannot be installed by pip, so without one these tests are skipped; `make browser` fails instead.
"""

import os
import shutil
from dataclasses import replace

import pytest
from playwright.sync_api import sync_playwright

from snnguard.paired import paired
from snnguard.report import render

from .conftest import a_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = "SNNGUARD_BROWSER_REQUIRED"


@pytest.fixture(scope="module")
def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        said = f"no browser to try the page in: none of {', '.join(BROWSERS)} is installed"
        pytest.fail(said) if REQUIRED in os.environ else pytest.skip(said)
    with sync_playwright() as started:
        yield started.chromium.launch(executable_path=found, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(a_page(), title="a title"))
    return path


@pytest.fixture(scope="module")
def faults():
    """What the browser complained of or wanted from elsewhere."""
    return []


@pytest.fixture(scope="module")
def opened(browser, file, faults):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(30_000)
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    inside = ("file:", "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(inside) else faults.append(request.url))
    page.goto(file.as_uri())
    return page


@pytest.fixture
def tab(opened, faults):
    """The page as it is after it was loaded: the same one for all tests, since loading costs most of the time."""
    yield opened
    found, faults[:] = list(faults), []
    assert found == []


def column(tab, index, table="#accuracies"):
    rows = tab.locator(f"{table} tbody tr:visible")
    return [rows.nth(i).locator("th, td").nth(index).inner_text().split("\n")[0] for i in range(rows.count())]


def test_all_figures_are_drawn(tab):
    places = tab.locator(".plot")
    assert places.count() == 1 + 1 + 8 + 2
    assert tab.locator(".plot .main-svg").count() >= places.count()


def test_a_heading_sorts_and_sorts_back(tab):
    heading = tab.locator("#accuracies thead th", has_text="clean")
    as_given = column(tab, 1)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert column(tab, 1) == sorted(as_given, key=float, reverse=True)
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column(tab, 1) == sorted(as_given, key=float)
    names = tab.locator("#accuracies thead th").first
    names.get_by_role("button").press("Space")
    assert names.get_attribute("aria-sort") == "ascending"
    assert heading.get_attribute("aria-sort") is None
    found = [name.split(" †")[0] for name in column(tab, 0)]
    assert found == sorted(r.name for r in a_page())


def test_the_table_is_filtered_by_name_and_by_kind_of_attack(tab):
    words = tab.get_by_label("Networks or defenses named")
    words.fill("MPD at")
    assert [name.split(" †")[0] for name in column(tab, 0)] == ["at + mpd-sgr"]
    assert tab.locator("form.filter output").inner_text() == "1 of 5 networks shown"
    shown = tab.evaluate("document.getElementById('bars').data.filter(bar => bar.visible === true).map(bar => bar.name)")
    assert shown == ["at + mpd-sgr"]
    words.fill("")
    assert len(column(tab, 0)) == 5
    unbounded = tab.locator("#accuracies th", has_text="gaussian")
    assert unbounded.is_visible()
    tab.get_by_label("unbounded attacks").press("Space")
    assert not unbounded.is_visible()
    assert tab.locator("#accuracies th", has_text="worst case").is_visible()
    tab.get_by_label("unbounded attacks").check()


def test_the_slider_and_the_list_choose_epoch_and_layer(tab):
    said, slider = tab.locator("#membrane-said"), tab.get_by_role("slider", name="Epoch", exact=True)
    assert "Layer conv1, the judged network. undefended: mean −0.30" in said.inner_text()
    judged = tab.evaluate("document.getElementById('membrane').data[0].y.length")
    assert judged == 60
    slider.press("Home")
    assert "Layer conv1, epoch 0. undefended: mean −2.00, std 0.50, 25.0 % inside the window" in said.inner_text()
    assert slider.get_attribute("aria-valuetext") == "epoch 0"
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    assert "epoch 2" in said.inner_text()
    bars, bell = tab.evaluate("document.getElementById('membrane').data.slice(0, 2).map(({x, y}) => [[...x], [...y]])")
    # In epoch 2 all lies in the twelfth of the bins of 0.2 from -4 on, so its density there is five.
    assert [(round(x, 6), y) for x, y in zip(*bars, strict=True) if y] == [(-1.5, pytest.approx(5))]
    peak = max(range(len(bell[1])), key=bell[1].__getitem__)
    assert bell[0][peak] == pytest.approx(-1.6, abs=0.06)
    assert bell[1][peak] == pytest.approx(0.798, abs=0.01)
    tab.get_by_role("combobox", name="Layer", exact=True).select_option("conv3")
    assert "Layer conv3, epoch 2." in said.inner_text()
    assert tab.evaluate("document.getElementById('membrane').layout.title.text") == "conv3"
    slider.press("End")
    assert "the judged network" in said.inner_text()


def test_images_are_chosen_by_attack_outcome_and_network(tab):
    pictures, said = tab.locator(".triple:visible"), tab.locator("form.browse output")
    assert pictures.count() == 1  # of many networks the first, of several attacks the last, which is the strongest
    tab.get_by_role("combobox", name="Network", exact=True).select_option("all")
    assert pictures.count() == 5
    tab.get_by_role("combobox", name="Attack", exact=True).select_option("FGSM")
    assert said.inner_text() == "10 of 15 images shown"
    tab.get_by_role("combobox", name="Outcome", exact=True).select_option("withstood it")
    assert pictures.count() == 5
    assert all("withstood" in text for text in pictures.locator("figcaption").all_inner_texts())
    tab.get_by_role("combobox", name="Network", exact=True).select_option("tgo")
    assert pictures.count() == 1
    assert tab.locator(".of-network h3:visible").all_inner_texts() == ["tgo"]
    tab.get_by_role("combobox", name="Class", exact=True).select_option("3")
    assert pictures.count() == 1
    tab.get_by_role("combobox", name="Outcome", exact=True).select_option("wrong before")
    assert said.inner_text() == "0 of 15 images shown"


def test_two_networks_are_compared_image_by_image(tab):
    records = a_page()
    one, other = tab.get_by_role("combobox", name="Compare", exact=True), tab.get_by_role("combobox", name="with", exact=True)
    one.select_option("mpd-sgr")
    other.select_option("adversarial training")
    found = paired(records[1], records[3], attack="pgd-7/bptt")
    low, high = found.interval
    row = column(tab, 0, "#pair").index("pgd-7/bptt")
    assert column(tab, 1, "#pair")[row] == str(found.only_one)
    assert column(tab, 2, "#pair")[row] == str(found.only_other)
    assert column(tab, 3, "#pair")[row] == f"{100 * found.difference:+.1f}"
    assert column(tab, 4, "#pair")[row] == f"{100 * low:+.1f} to {100 * high:+.1f}"
    assert column(tab, 5, "#pair")[row] == "< 0.001"
    one.select_option("adversarial training")
    other.select_option("mpd-sgr")
    assert column(tab, 1, "#pair")[row] == str(found.only_other)
    assert column(tab, 3, "#pair")[row] == f"−{100 * found.difference:.1f}"
    assert tab.evaluate("document.getElementById('pair-plot').data[0].x")[row] == pytest.approx(-100 * found.difference)
    other.select_option("adversarial training")
    assert "two different" in tab.locator("form.compare output").inner_text()
    assert not tab.locator("#pair").is_visible()


def test_the_theme_is_switched_by_hand(tab):
    button, page = tab.get_by_role("button", name="Dark colours"), "getComputedStyle(document.body).backgroundColor"
    assert (button.get_attribute("aria-pressed"), tab.evaluate(page)) == ("false", "rgb(255, 255, 255)")
    button.press("Enter")
    assert (button.get_attribute("aria-pressed"), tab.evaluate(page)) == ("true", "rgb(20, 23, 27)")
    assert tab.evaluate("document.getElementById('bars').layout.font.color") == "#c9d0d8"
    button.click()
    assert tab.evaluate(page) == "rgb(255, 255, 255)"


@pytest.mark.parametrize(("format", "start"), [("PNG", b"\x89PNG"), ("SVG", b"<svg")])
def test_a_figure_is_saved_from_its_bar(tab, tmp_path, format, start):
    tab.locator("#training-1").hover()
    with tab.expect_download() as waiting:
        tab.locator(f"#training-1 [data-title='Download as {format}']").click()
    waiting.value.save_as(tmp_path / "figure")
    assert waiting.value.suggested_filename == f"training-1.{format.lower()}"
    assert (tmp_path / "figure").read_bytes().startswith(start)


def test_the_command_is_copied_or_else_selected(tab):
    button = tab.get_by_role("button", name="copy the command for undefended")
    button.click()
    tab.wait_for_function("button => button.textContent !== 'copy'", arg=button.element_handle())
    said = button.inner_text()
    taken = tab.evaluate("getSelection().toString()") if said == "selected" else "snnguard evaluate runs/x"
    assert (said in ("copied", "selected"), taken) == (True, "snnguard evaluate runs/x")


def test_the_first_tab_skips_to_the_numbers(tab):
    tab.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    tab.mouse.click(2, 2)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    assert tab.locator(".skip").bounding_box()["x"] >= 0
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "content"


def test_every_control_has_a_name(tab):
    for control in tab.locator("button:visible, select:visible, input:visible").element_handles():
        named = control.evaluate("c => (c.labels?.length && c.labels[0].textContent) || c.ariaLabel || c.textContent")
        assert named.strip()


def test_a_phone_scrolls_down_only(tab):
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.wait_for_timeout(300)  # the figures follow
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    tab.set_viewport_size({"width": 1280, "height": 900})


def test_the_dark_page_is_that_of_the_system(tab):
    tab.evaluate("delete document.documentElement.dataset.theme")
    tab.emulate_media(color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert tab.get_by_role("button", name="Dark colours").get_attribute("aria-pressed") == "true"
    tab.emulate_media(color_scheme="light")


def test_older_and_shorter_records(browser, tmp_path):
    """Without logged histograms there is no slider; what a record lacks is sorted to the end either way."""
    first, second, *_ = a_page()
    records = [replace(first, name="short", attacks=first.attacks[:1]), first, second]
    path = tmp_path / "older.html"
    path.write_text(render([replace(r, epochs=(), pictures=(), curves=()) for r in records]))
    page = browser.new_page()
    page.set_default_timeout(30_000)
    page.goto(path.as_uri())
    assert not page.locator("input[name=epoch]").is_visible()
    page.get_by_role("combobox", name="Layer").select_option("conv2")
    assert "Layer conv2, the judged network." in page.locator("#membrane-said").inner_text()
    heading = page.locator("#accuracies thead th", has_text="pgd-7").get_by_role("button")
    for _ in range(2):
        heading.click()
        assert column(page, 0)[-1] == "short"
    page.close()


def test_a_page_without_records_and_one_of_hostile_names_run_no_foreign_code(browser, tmp_path):
    name = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    evil = [replace(record, name=name, labels=(name,)) for record in a_page()[:2]]
    faults = []
    page = browser.new_page()
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    for title, records in (("empty", []), ("evil", evil)):
        path = tmp_path / f"{title}.html"
        path.write_text(render(records, title=title))
        page.goto(path.as_uri())
        assert page.title() == title
    page.get_by_role("combobox", name="with", exact=True).select_option("0")
    assert page.get_by_role("combobox", name="with", exact=True).locator("option").first.inner_text() == name
    assert faults == []
    page.close()
