"""The pages of the documentation lead to files and sections that exist, and the first page stays short."""

import re
from pathlib import Path

import pytest

from tests.builders.tiny_models import REPOSITORY

from .blocks import FENCE, PAGES

ALL_PAGES = [*PAGES, REPOSITORY / "CHANGELOG.md"]
NAMES = [str(page.relative_to(REPOSITORY)) for page in ALL_PAGES]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# Paths from the repository's root that stand in the text as code; "*" may be in them.
_PATH = re.compile(r"`((?:configs|datasets|docs|examples|reldn_cli|reldn_d2|tests|tools)/[\w./*-]+)`")


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes for the headings of a page."""
    headings = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(prose(page)))
    return {heading.replace(" ", "-") for heading in headings}


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Recall of unseen triplets: zR@K\n\n```bash\n# no heading\n```\n\n## A `b`, c_d and e-f\n"
    )
    assert anchors(page) == {"recall-of-unseen-triplets-zrk", "a-b-c_d-and-e-f"}


@pytest.mark.parametrize("page", ALL_PAGES, ids=NAMES)
def test_links_lead_to_files_and_sections(page: Path) -> None:
    dead = []
    for link in _LINK.findall(prose(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


# Without the change log, which names what has gone.
@pytest.mark.parametrize("page", PAGES, ids=NAMES[:-1])
def test_paths_in_the_text_exist(page: Path) -> None:
    assert not [path for path in _PATH.findall(prose(page)) if not list(REPOSITORY.glob(path.rstrip("/")))]


def test_messages_and_help_texts_name_pages_that_exist() -> None:
    folders = [REPOSITORY / name for name in ("reldn_cli", "reldn_d2", "tools")]
    sources = [file for folder in folders for file in folder.rglob("*.py")]
    named = {
        page for file in sources for page in re.findall(r"\b(?:docs|datasets)/\w+\.md", file.read_text())
    }
    assert named
    assert not [page for page in named if not (REPOSITORY / page).is_file()]


def test_readme_has_three_screens() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 140
