import xml.etree.ElementTree as ElementTree

import pytest

from reldn_d2.visualization.bars import bars_svg

SVG = "{http://www.w3.org/2000/svg}"


def parts(*args: object, **options: int) -> tuple[list[float], list[str]]:
    """Widths of the bars, and all texts."""
    root = ElementTree.fromstring(bars_svg(*args, **options))  # type: ignore[arg-type]
    widths = [float(rect.get("width") or "nan") for rect in root.iter(f"{SVG}rect")]
    return widths, [text.text or "" for text in root.iter(f"{SVG}text")]


def test_bars_are_as_long_as_their_counts() -> None:
    widths, texts = parts([("on", 1500), ("under", 450), ("at", 0)])
    assert widths == [100.0, 30.0, 0.0]
    assert texts == ["on", "1,500 · 76.9 %", "under", "450 · 23.1 %", "at", "0 · 0.0 %"]


def test_what_is_rare_can_still_be_seen() -> None:
    widths, _ = parts([("on", 1_000_000), ("under", 1)])
    assert widths[1] == 1.5


def test_columns_are_filled_one_after_the_other() -> None:
    root = ElementTree.fromstring(bars_svg([(str(i), 1) for i in range(5)], columns=2))
    places = [(float(bar.get("x") or 0), float(bar.get("y") or 0)) for bar in root.iter(f"{SVG}rect")]
    first, second = sorted({x for x, _ in places})
    assert [x for x, _ in places] == [first] * 3 + [second] * 2
    assert [y for _, y in places[:2]] == [y for _, y in places[3:]]
    assert places[0][1] < places[1][1] < places[2][1]


def test_names_are_escaped_and_long_ones_cut() -> None:
    _, texts = parts([("<&>", 1), ("x" * 40, 1)])
    assert texts[0] == "<&>"
    assert texts[2] == "x" * 20 + "…"


@pytest.mark.parametrize("counts", [[], [("on", 0)]])
def test_nothing_to_show(counts: list[tuple[str, int]]) -> None:
    widths, texts = parts(counts)
    assert widths == [0.0] * len(counts)
    assert texts == [text for name, count in counts for text in (name, str(count))]
