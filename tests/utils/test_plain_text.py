"""Names are harmless in every medium, and what is written can be read back."""

import csv
import io
import re
import sys
import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from reldn_d2.utils.plain_text import (
    from_csv,
    in_encoding,
    markdown_table,
    say,
    short,
    to_code,
    to_csv,
    to_markdown,
    visible,
    visible_lines,
)
from tests.builders.hostile_names import HOSTILE, ORDINARY, anything

# GitHub's dialect: tables, struck text, and addresses that become links.
GITHUB = MarkdownIt("gfm-like")
# What a cell begins with if a spreadsheet takes it for a formula; some programs remove spaces first.
FORMULA = tuple("=+-@\t\r＝＋－＠")
names = st.sampled_from([*HOSTILE, *ORDINARY]) | anything


def steers(character: str) -> bool:
    """Whether a character acts without being seen: on a terminal, on lines, or on the direction of text."""
    direction = unicodedata.bidirectional(character)
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or direction in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        or character in "\u061c\u200b\u200e\u200f\u2060\ufeff\ufffe\uffff"
    )


@given(names)
def test_nothing_unseen_is_left(name: str) -> None:
    assert not any(map(steers, visible(name)))
    assert visible(name).encode().decode() == visible(name)
    assert visible(visible(name)) == visible(name)
    lines = visible_lines(name)
    assert [visible(part) for part in re.split("[\n\t]", name)] == re.split("[\n\t]", lines)


@pytest.mark.parametrize("name", ORDINARY)
def test_letters_of_all_languages_stay(name: str) -> None:
    assert visible(name) == visible_lines(name) == short(name) == to_csv(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b]0;t\x07", r"\x1b]0;t\x07"),
        ("a\u202eb", r"a\u202eb"),
        ("a\r\n\tb", r"a\r\n\tb"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_escapes_are_those_of_python(name: str, shown: str) -> None:
    assert visible(name) == shown


@given(names, st.integers(2, 40))
def test_short_names_have_a_limit(name: str, longest: int) -> None:
    assert len(short(name, longest)) <= longest
    if len(visible(name)) <= longest:
        assert short(name, longest) == visible(name)


@given(st.lists(names, min_size=1, max_size=4))
def test_csv_is_read_back_and_runs_nowhere(row: list[str]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([*map(to_csv, row), 1])
    written = text.getvalue()
    assert written.count("\n") == 1 and written.encode()
    (fields,) = csv.reader(io.StringIO(written, newline=""))
    assert [*map(from_csv, fields[:-1])] == row
    for field in fields:
        for part in field.split(";"):
            assert not part.lstrip().startswith(FORMULA)


@pytest.mark.parametrize(
    "name", ["cup", "next to", "/m/04bcr3", "inside_of", "000a1249af2bc5f0", "a-b", "a'b"]
)
def test_usual_names_are_themselves_in_csv_and_markdown(name: str) -> None:
    assert to_csv(name) == name
    if not name.startswith("/"):
        assert to_markdown(name) == name


def tokens_of(text: str) -> list[Token]:
    return [t for token in GITHUB.parse(text) for t in (token, *(token.children or []))]


@given(names)
@example("a`")
@example("` `")
def test_markdown_shows_the_name_and_nothing_else(name: str) -> None:
    for write in (to_markdown, to_code):
        tokens = tokens_of(f"Before {write(name)} after")
        assert {t.type for t in tokens} <= {
            "paragraph_open",
            "inline",
            "text",
            "code_inline",
            "paragraph_close",
        }
        shown = "".join(t.content for t in tokens if t.type in ("text", "code_inline"))
        assert shown == f"Before {visible(name)} after"


@given(
    st.lists(
        st.sampled_from(["evil", "a", "пример", "müller", "xn--e1afmkfd", "1", "±", "b-c", "R@1"]), min_size=1
    ),
    st.sampled_from(["com", "рф", "xn--p1ai", "de", "COM", "c"]),
    st.sampled_from(["", "a ", "@", "a@", "www.", "x: ", "x, "]),
    st.sampled_from(["", "/login", "/a b", ":80", ".", ", and"]),
)
@example(["evil"], "com", "", "/login")
@example(["пример"], "рф", "a ", "")
def test_names_of_hosts_and_users_are_no_links(labels: list[str], top: str, before: str, after: str) -> None:
    name = f"{before}{'.'.join([*labels, top])}{after}"
    for text in (to_markdown(name), f"- {to_markdown(name)}.", markdown_table(("name",), [(name,)])):
        assert not {t.type for t in tokens_of(text)} & {"link_open", "image"}


@pytest.mark.parametrize("name", ["@user", "a @user", "evil.com", "a evil.com/login", "пример.рф", "WWW.x"])
def test_names_that_other_programs_link_are_code(name: str) -> None:
    assert to_markdown(name) == f"`{name}`"


@pytest.mark.parametrize("name", ["R@20", "mR@50: 3.5", "1.5 m", "a. b", "St. x"])
def test_points_and_signs_of_usual_text_stay(name: str) -> None:
    assert to_markdown(name) == name


@given(st.lists(st.tuples(names, names), min_size=1, max_size=3))
def test_tables_have_the_cells_that_were_given(rows: list[tuple[str, str]]) -> None:
    tokens = tokens_of(markdown_table(("name", "a|b"), [*rows]))
    assert {t.type for t in tokens if t.type.endswith("_open")} <= {
        *("table_open", "thead_open", "tbody_open", "tr_open", "th_open", "td_open")
    }
    cells = ["".join(c.content for c in t.children or ()) for t in tokens if t.type == "inline"]
    assert cells[:2] == ["name", "a|b"]
    assert cells[2:] == [_in_cell(name) for row in rows for name in row]


def _in_cell(name: str) -> str:
    """A cell shows a long name cut, and a bar behind a backslash as an escape."""
    shown = short(name, 500)
    return shown if shown in ("-", "–") else shown.replace("\\|", "\\\\x7c")


@given(names)
def test_what_is_visible_fits_into_xml(name: str) -> None:
    element = ElementTree.Element("text", {"label": visible(name)})
    element.text = visible(name)
    read = ElementTree.fromstring(ElementTree.tostring(element))
    assert (read.text or "", read.get("label")) == (visible(name), visible(name))


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_said_cannot_steer_a_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"error: {name}", "and more")
    say("a problem", error=True)
    printed = capsys.readouterr()
    assert printed.out == f"error: {visible_lines(name)}\nand more\n" and printed.err == "a problem\n"
    assert not any(map(steers, printed.out.replace("\n", "").replace("\t", "")))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "cp932", "koi8-r", "utf-8"])
def test_every_sign_can_be_said_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in ("stdout", "stderr"):
        screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
        monkeypatch.setattr(sys, stream, screen)
        say("cat → on … ±2 · – – 컵 ☕ é \N{GRINNING FACE} Φ ✓ ✗", *HOSTILE, error=stream == "stderr")
        assert screen.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def test_signs_that_an_encoding_lacks_keep_their_meaning() -> None:
    assert in_encoding("cat → on … ±2 – 3 컵 \N{GRINNING FACE}", "ascii") == (
        r"cat -> on ... +-2 - 3 \ucef5 \U0001f600"
    )
    # What the encoding has, it keeps.
    assert in_encoding("é … ±2 →", "cp1252") == "é … ±2 ->"
    assert in_encoding("é → 컵", "utf-8") == in_encoding("é → 컵", None) == "é → 컵"
