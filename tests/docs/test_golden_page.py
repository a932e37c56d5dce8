"""The table in docs/golden.md names every golden case, as its file describes it."""

from reldn_d2.evaluation import golden_cases
from tests.builders.tiny_models import REPOSITORY

FOLDER = "reldn_d2/evaluation/golden"


def table() -> str:
    """The table of all cases, in Markdown."""
    rows = ["| case | rule | official tool |", "|---|---|---|"]
    for case in golden_cases():
        link = f"[{case.name}](../{FOLDER}/{case.name}.json)"
        rows.append(f"| {link} | {case.purpose} | {case.official['status']} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_the_page_is_that_of_the_files() -> None:
    page = (REPOSITORY / "docs" / "golden.md").read_text(encoding="utf-8")
    assert page.endswith(f"\n\n{table()}"), f"end docs/golden.md with this table:\n\n{table()}"
