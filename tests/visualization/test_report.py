import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from reldn_d2.visualization.plots import curves_svg
from reldn_d2.visualization.report import Report

PICTURE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags are closed in order; collects cells, texts and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.cells: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append(("", dict(attrs).get("class") or ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "td" in self.open:
            text, classes = self.cells[-1]
            self.cells[-1] = (text + data, classes)


def full_report(text: str) -> Report:
    return (
        Report(text)
        .heading(text)
        .subheading(text)
        .note(text)
        .paragraph(text)
        .legend([(["#aabbcc"], text), (["#000000", "#ffffff"], text)])
        .table([{text: text, "R@50": 1.0}], caption=text, best={"R@50": "max"}, footnotes=[text])
        .pictures([(PICTURE, text), (curves_svg({text: {0: 1.0, 5: 2.0}}, y_label=text), text)])
        .code(text)
    )


def test_every_text_is_escaped() -> None:
    nasty = "<script>alert('1')</script> & \"quotes\" </td></style>"
    page = Page(full_report(nasty).html())
    assert "script" not in page.tags
    assert page.texts.count(nasty) == 16
    assert ("img", "alt", nasty) in page.attributes


def test_the_page_needs_nothing_else() -> None:
    html = full_report("plain").html()
    page = Page(html)
    assert {"script", "link", "iframe", "object"}.isdisjoint(page.tags)
    for _, name, value in page.attributes:
        if name in {"src", "href", "xlink:href", "srcset", "data"}:
            assert value.startswith("data:image/")
    assert "url(" not in html and "@import" not in html
    # The only address is SVG's namespace, which is not fetched.
    assert set(re.findall(r"https?://[^\"' ]*", html)) == {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme: dark" in html


def test_table_cells() -> None:
    rows = [
        {"model": "L0", "R@50": 12.341, "loss": 2, "wins": float("nan")},
        {"model": "full", "R@50": 12.339, "loss": 1, "note": "x"},
        {"model": "sem", "R@50": None, "loss": 1, "wins": 3},
    ]
    page = Page(Report("r").table(rows, best={"R@50": "max", "loss": "min", "wins": "max"}).html())
    dash = "\N{EN DASH}"
    # Numbers with the same text are both marked as the best.
    assert page.cells == [
        ("L0", ""), ("12.34", "number best"), ("2", "number"), ("nan", "number"), (dash, ""),
        ("full", ""), ("12.34", "number best"), ("1", "number best"), (dash, "number"), ("x", ""),
        ("sem", ""), (dash, "number"), ("1", "number best"), ("3", "number best"), (dash, ""),
    ]  # fmt: skip


def test_wrong_tables_and_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="no row"):
        Report("r").table([], caption="results")
    with pytest.raises(ValueError, match="R@5"):
        Report("r").table([{"R@50": 1.0}], best={"R@5": "max"})
    with pytest.raises(ValueError, match="'grey'"):
        Report("r").pictures([(PICTURE[..., 0], "grey")])
    with pytest.raises(ValueError, match=r"'empty'.*encoded"):
        Report("r").pictures([(PICTURE[:0], "empty")])


def test_a_legend_shows_colours_and_scales() -> None:
    page = Page(Report("r").legend([(["#aabbcc"], "right"), (["#000000", "#ffffff"], "low to high")]).html())
    styles = [value for tag, name, value in page.attributes if (tag, name) == ("span", "style")]
    assert styles == ["background: #aabbcc", "background: linear-gradient(to right, #000000, #ffffff)"]
    for colours in ([], ["red"], ["#fff"], ["#aabbcc; position: fixed"]):
        with pytest.raises(ValueError, match=r"'right'.*#rrggbb"):
            Report("r").legend([(colours, "right")])


def test_every_heading_begins_a_section() -> None:
    html = Report("r").paragraph("before").heading("a").paragraph("of a").heading("b").html()
    sections = re.findall(r"<section>(.*?)</section>", html, re.DOTALL)
    texts = [re.findall(r"<(?:p|h2)>(.*?)</", section) for section in sections]
    assert texts == [["before"], ["a", "of a"], ["b"]]
    assert Report("r").heading("a").html().count("<section>") == 1


def test_markup_from_outside_is_no_picture() -> None:
    with pytest.raises(ValueError, match=r"'logo' must be .* not str"):
        Report("r").pictures([("<svg></svg>", "logo")])  # type: ignore[list-item]


def embedded(html: str, kind: str) -> np.ndarray:
    (data,) = re.findall(rf"data:image/{kind};base64,([^\"]+)", html)
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_pictures_fill_a_line_or_a_grid() -> None:
    for grid, kind in ((False, "row"), (True, "grid")):
        page = Page(Report("r").pictures([(PICTURE, "p")], grid=grid).html())
        assert ("div", "class", kind) in page.attributes


def test_pictures_are_inside_the_page() -> None:
    exact = Report("r").pictures([(PICTURE, "p")], as_photo=False).html()
    assert (embedded(exact, "png") == PICTURE).all()
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    photo = Report("r").pictures([(red, "p")]).html()
    assert np.abs(embedded(photo, "jpeg").astype(int) - red).max() < 12


def test_write_makes_the_folder_and_leaves_one_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    report = full_report("Größe")
    report.write(path)
    assert path.read_text(encoding="utf-8") == report.html()
    assert list(path.parent.iterdir()) == [path]
