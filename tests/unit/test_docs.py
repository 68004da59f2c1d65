"""Each link between the pages leads to a page, and to a heading of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted(
    [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md"), *CHECKOUT.glob("boot/*/README.md")]
)

_CODE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)(?P<page>[^)#\s]*)(?:#(?P<heading>[^)\s]+))?\)")
_HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)
# Paths of pages that text, code and messages name without a link.
_NAMED = re.compile(r"(?<![\w/.-])docs/[a-z-]+\.md\b")


def anchors(page: Path) -> set[str]:
    """Return what GitHub makes of a page's headings."""
    found: set[str] = set()
    for heading in _HEADING.finditer(_CODE.sub("", page.read_text(encoding="utf-8"))):
        title = re.sub(r"\]\([^)]*\)", "", heading["title"]).lower()
        anchor = re.sub(r"[^\w -]", "", title).replace(" ", "-")
        numbered = (f"{anchor}-{number}" for number in range(1, 100))
        found.add(anchor if anchor not in found else next(n for n in numbered if n not in found))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.finditer(_CODE.sub("", page.read_text(encoding="utf-8"))):
        target = page.parent / link["page"] if link["page"] else page
        if not target.exists() or (link["heading"] and link["heading"] not in anchors(target)):
            broken.append(link[0])
    assert broken == []


def test_every_page_is_in_the_readmes_list() -> None:
    listed = (CHECKOUT / "README.md").read_text(encoding="utf-8").partition("## More")[2]
    pages = {f"docs/{page.name}" for page in CHECKOUT.glob("docs/*.md")}
    assert pages <= set(re.findall(r"\]\((docs/[^)#]+)\)", listed))


def test_pages_that_are_named_are_there() -> None:
    texts = [
        *(CHECKOUT / name for name in ("compose.yaml", "Dockerfile", "Makefile")),
        *(file for folder in ("appliance", "config") for file in (CHECKOUT / folder).rglob("*.*")),
        *PAGES,
    ]
    named = {
        name
        for file in texts
        if file.suffix != ".pyc" and file.is_file()
        for name in _NAMED.findall(file.read_text(encoding="utf-8"))
    }
    assert {name for name in named if not (CHECKOUT / name).exists()} == set()
