"""The site is built without a warning, without a network, and every link in it leads somewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from filelock import FileLock

import snnguard

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_ENTRY = {"layers.Merge", "neurons.Slot", "neurons.fused", "neurons.native", "report.figures"}
"""Types and files without a docstring of their own that a room offers."""
LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src"}


class Page(HTMLParser):
    """What a page names, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and given.get("rel") != "canonical" and LOADED[tag] in given:
            self.loads.append(given[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, one for all processes that test it side by side."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with FileLock(shared / "site.lock"):
        return shared / "site" if (shared / "site").exists() else built(shared / "site")


def built(out: Path) -> Path:
    """A warning of mkdocs fails the build; so does an attempt to reach a network, which has no way out."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    said = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", out, "--config-file", ROOT / "mkdocs.yml"],
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "WARNING" not in said.stderr
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


def test_every_page_of_the_navigation_is_there(site: Path, pages: dict[Path, Page]) -> None:
    named = re.findall(r"[\w/-]+\.md$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert len(named) > 35
    assert {site / name.replace(".md", ".html") for name in named} <= set(pages)


def test_links_within_the_site_lead_to_pages_and_places(pages: dict[Path, Page]) -> None:
    broken, followed = [], 0
    for path, page in pages.items():
        if path.name == "404.html":  # its links are from the root of a server
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            followed += 1
            if not target.is_file() or (parts.fragment and target in pages and parts.fragment not in pages[target].anchors):
                broken.append(f"{path.name}: {link}")
    assert followed > 1000
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Page]) -> None:
    loaded = [url for page in pages.values() for url in page.loads]
    assert loaded
    assert [url for url in loaded if urlsplit(url).netloc] == []


def test_the_reference_has_what_a_room_offers(site: Path, pages: dict[Path, Page]) -> None:
    """Every public name has an entry, `recipes.recipe` too, which shares its name with a file; what is private has none."""
    for room in snnguard.__all__:
        if (site / "reference" / f"{room}.html") not in pages:
            continue
        found = pages[site / "reference" / f"{room}.html"].anchors
        offered = {f"{room}.{name}" for name in getattr(snnguard, room).__all__}
        assert offered - WITHOUT_ENTRY <= {name.removeprefix("snnguard.") for name in found}
    assert "snnguard.attacks.PGD.steps" not in found  # a field is a row of a table
    assert not any("._" in name and "__" not in name for name in found)


def test_the_table_of_fields_says_type_default_and_range(site: Path) -> None:
    text = (site / "reference/attacks.html").read_text()
    row = re.search(r"<td><code>step_size</code></td>\s*<td>(.*?)</td>\s*<td>(.*?)</td>\s*<td>(.*?)</td>", text)
    assert row is not None
    assert row.groups() == ("<code>float | None</code>", "<code>None</code>", "&gt; 0")


def test_the_page_of_the_command_line_has_every_command(pages: dict[Path, Page], site: Path) -> None:
    sections = {name for name in pages[site / "reference/command.html"].anchors if name.startswith("snnguard-")}
    files = {path.stem for path in (ROOT / "src/snnguard/cli").glob("*.py")} - {"__init__", "main", "records"}
    assert {f"snnguard-{name}" for name in files} <= sections


def test_the_page_of_deviations_has_every_one(site: Path) -> None:
    tagged = sum(path.read_text().count("DEVIATION") for path in (ROOT / "src").rglob("*.py"))
    text = (site / "deviations.html").read_text()
    assert text.count("<br>") == tagged
    assert f"all {tagged} such places" in text
    assert "the paper averages over all layers, channels and steps at once" in text
