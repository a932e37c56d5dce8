"""Names in every script: a font that has the letters is found, and without one there is one warning."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from reldn_d2.scene_graphs import build_scene_graph
from reldn_d2.visualization import fonts
from reldn_d2.visualization.draw import draw_scene_graph, side_by_side
from reldn_d2.visualization.graph_svg import scene_graph_svg
from reldn_d2.visualization.sheet import Sheet

# Letters that no machine has a font for, but for those of the tests.
PRIVATE = "\U000f1234\U000f1235"
FAMILY = "Letters of a Test"


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fonts are looked up anew in each test, and those of the machine's folders only where a test says so."""
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *_, **__: [])
    for cached in (fonts._fallbacks, fonts._letters_of, fonts._add_new_fonts):
        cached.cache_clear()
    yield
    for cached in (fonts._fallbacks, fonts._letters_of, fonts._add_new_fonts):
        cached.cache_clear()


def write_font(
    path: Path, letters: str, family: str = FAMILY, style: str = "Regular", weight: int = 400
) -> Path:
    """A font in which each letter is a solid block, one em wide."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 800), (900, 800), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    block, names = pen.glyph(), [f"g{i}" for i in range(len(letters))]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap(dict(zip(map(ord, letters), names, strict=True)))
    builder.setupGlyf(dict.fromkeys((".notdef", *names), block))
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", *names), (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    names_of_it = {"familyName": family, "styleName": style, "fullName": f"{family} {style}"}
    builder.setupNameTable(names_of_it)
    builder.setupOS2(usWeightClass=weight)
    builder.setupPost()
    builder.save(path)
    return path


def photo() -> np.ndarray:
    return np.full((300, 800, 3), 128, dtype=np.uint8)


def graph_of(names: list[str], predicate: str = "on") -> object:
    boxes = [[20.0, 150, 80, 200], [700.0, 150, 760, 200]]
    image = {"file_name": "", "width": 800, "height": 300}
    return build_scene_graph(image, names, boxes, [(0, 1, predicate)])


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "No font" in record.getMessage()]


def test_a_font_with_the_letters_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    without = draw_scene_graph(photo(), graph_of([PRIVATE, "cup"]))
    assert len(warnings_of(caplog)) == 1
    caplog.clear()
    font_manager.fontManager.addfont(write_font(tmp_path / "test.ttf", PRIVATE))
    with_font = draw_scene_graph(photo(), graph_of([PRIVATE, "cup"]))
    assert not warnings_of(caplog) and not [x for x in recwarn if "missing" in str(x.message)]
    # The blocks of the font fill most of the plate's text.
    changed = (without != with_font).any(axis=-1)
    assert changed.any() and not changed[:, 200:].any()
    sheet = Sheet(800, 300, texts=[PRIVATE])
    size = sheet.font.get_size_in_points()
    # Measured with the font that draws: each letter is one em wide.
    assert sheet.text_width(PRIVATE) == pytest.approx(2 * size, rel=0.08)
    assert list(sheet.font.get_family())[:2] == [fonts.BASE, FAMILY]


def test_a_font_that_was_installed_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_font(tmp_path / "later.ttf", PRIVATE)
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr(
        font_manager, "findSystemFonts", lambda *_, **__: [str(path), str(tmp_path / "broken.ttf")]
    )
    assert FAMILY in fonts.font_of([PRIVATE], 12).get_family()


def test_as_few_fonts_as_possible_are_used(tmp_path: Path) -> None:
    for number, letters in enumerate((PRIVATE[0], PRIVATE, PRIVATE[1])):
        family = f"{FAMILY} {number}"
        font_manager.fontManager.addfont(write_font(tmp_path / f"{number}.ttf", letters, family))
    assert fonts.font_of(["a" + PRIVATE], 12).get_family() == [fonts.BASE, f"{FAMILY} 1", "sans-serif"]


def test_missing_letters_are_one_warning_that_names_the_remedy(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    for _ in range(3):
        draw_scene_graph(photo(), graph_of([PRIVATE, "cup"], PRIVATE[0]))
        scene_graph_svg(graph_of([PRIVATE, "cup"], PRIVATE[0]))
    (message,) = warnings_of(caplog)
    assert "fonts-noto-cjk" in message and all(letter in message for letter in PRIVATE)
    assert not [x for x in recwarn if "missing" in str(x.message)]


def test_letters_of_the_base_font_need_no_other(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    texts = [
        "person",
        "Größe",
        "чашка",
        "كوب",
        "\N{CHECK MARK}\N{BALLOT X}",
        "e\u0301",
        "a\u200db",
        "1 \u2013 2",
    ]
    assert fonts.font_of(texts, 12).get_family() == [fonts.BASE, "sans-serif"]
    assert not caplog.records


@pytest.mark.parametrize("order", [1, -1])
def test_the_letters_are_those_of_the_bold_font(order: int, tmp_path: Path) -> None:
    """The order in which a machine's fonts are listed is that of its folders."""
    kinds = (("Bold", 700, PRIVATE), ("Light", 300, PRIVATE[0]), ("Oblique", 700, PRIVATE[0]))
    for style, weight, letters in kinds[::order]:
        path = tmp_path / f"{style}.ttf"
        font_manager.fontManager.addfont(write_font(path, letters, style=style, weight=weight))
    assert fonts.font_of([PRIVATE], 12).get_family() == [fonts.BASE, FAMILY, "sans-serif"]
    assert fonts._letters_of(FAMILY) == set(PRIVATE)


@pytest.mark.parametrize("order", [1, -1])
def test_the_letters_of_the_base_font_do_not_depend_on_the_order(order: int) -> None:
    fonts_of_the_machine = font_manager.fontManager.ttflist
    font_manager.fontManager.ttflist = sorted(fonts_of_the_machine, key=lambda x: x.fname)[::order]
    assert set("чكØ\N{CHECK MARK}") <= fonts._letters_of(fonts.BASE)


@pytest.mark.parametrize(
    "name", ["كوب شاي", "ספל", "हिन्दी", "ไทย", "e\u0301\u0323", "\N{HOT BEVERAGE}\ufe0f"]
)
def test_scripts_that_need_shaping_are_drawn(name: str) -> None:
    drawn = draw_scene_graph(photo(), graph_of([name, "cup"], name))
    assert (drawn[:, :400] != 128).any()
    assert name in scene_graph_svg(graph_of([name, "cup"], name))
    assert (side_by_side([photo()], [name])[:-300] < 200).any()
