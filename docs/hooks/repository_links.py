"""Links from documents to files of the repository outside docs/, on the site, and measured pages.

A document links to `../CHANGELOG.md` or `../src/...` so that the link works where the repository
is browsed. The site has no such place: here the file becomes part of it and the link leads there.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"CHANGELOG.md": "changelog.md"}
"""Files of the repository that are pages of the site."""
_LINK = re.compile(r"(?<=\]\()([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every measured table into the navigation, below the page that tells of them."""
    measured = sorted((ROOT / "docs/reproduction").glob("*.md"))
    for section in config.nav or []:
        for entry in next(iter(section.values())):
            if isinstance(entry, dict) and "Reproduction" in entry:
                pages = [f"reproduction/{page.name}" for page in measured]
                entry["Reproduction"] = ["reproduction.md", *pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages of the repository, and the files that documents link to."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text("utf-8")))
    documents = list(files.documentation_pages())
    wanted = {
        target
        for document in documents
        for link in _LINK.findall(document.content_string)
        if (target := _outside(document.src_uri, link)) and target not in PAGES
    }
    for target in sorted(wanted):
        place = _place(target)
        files.append(File.generated(config, place, content=(ROOT / target).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links that leave docs/ to where the files are on the site."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation", "toc"]  # it is itself a list of all pages

    def replaced(match: re.Match[str]) -> str:
        target = _outside(page.file.src_uri, match[1])
        if not target:
            return match[1]
        here = str(PurePosixPath(page.file.src_uri).parent)
        return relpath(PAGES.get(target, _place(target)), here)

    return _LINK.sub(replaced, markdown)


def _place(target: str) -> str:
    """A name that servers and browsers show as text."""
    return (
        f"repository/{target}" if "." in PurePosixPath(target).name else f"repository/{target}.txt"
    )


def _outside(document: str, link: str) -> str | None:
    """The file of the repository that a link of a document leads to, unless it is in docs/."""
    if ":" in link:
        return None
    path = normpath(f"docs/{PurePosixPath(document).parent}/{link}")
    outside = not path.startswith(("docs/", "..")) and (ROOT / path).is_file()
    return path if outside else None
