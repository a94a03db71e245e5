"""Pages and pictures that live outside docs/: the root's CONTRIBUTING and CHANGELOG, and what pages link to above docs/.

Links are written as they work in the repository; here they are turned to where the site keeps the file.
"""

import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
PICTURES = ("benchmarks/growth.svg",)
LINK = re.compile(r"(\]\()(?!https?:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the pages and pictures."""
    root = Path(config.config_file_path).parent
    for name, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(root / name).read_text()))
    for name in PICTURES:
        files.append(File.generated(config, name, content=(root / name).read_bytes()))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """The page with its links to files above docs/ turned to the site's copies."""
    docs = Path(config.docs_dir)
    here = docs.parent if page.file.src_uri in PAGES.values() else (docs / page.file.src_uri).parent

    def turned(match: re.Match[str]) -> str:
        target = (here / match[2]).resolve()
        inside = target.relative_to(docs) if target.is_relative_to(docs) else target.relative_to(docs.parent)
        uri = PAGES.get(str(inside), str(inside))
        up = PurePosixPath(*[".."] * page.file.src_uri.count("/"))
        return f"{match[1]}{up / uri}"

    return LINK.sub(turned, markdown)
