r"""Makes names harmless in whatever shows them: a terminal, a table in Markdown, a spreadsheet, a drawing.

Names of classes, files, images and data sets come from files of other people. This module knows, for each
medium, what a name must not do there; every writer uses it. HTML and JSON need nothing else: Jinja2 and the
json module escape what their media take for markup.

What `visible` writes as escapes, such as `\x1b` or `\u202e`: control characters, marks that change the
direction of text, other characters that nobody can see, and what is no character (half of a UTF-16 pair, as
Python reads a file name that is not UTF-8). Letters of all languages and emoji stay as they are.
"""

import codecs
import re
import sys
from collections.abc import Sequence

from tabulate import tabulate

# Number of characters after which names in drawings and tables of the screen are cut, and cells of Markdown.
_LONGEST_NAME, _LONGEST_CELL = 120, 500

# Cc, Cs, Zl, Zp, and those of Cf that cannot be seen. The joiners U+200C and U+200D stay: Persian, scripts of
# India and emoji need them. XML has no U+FFFE and U+FFFF.
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    r"\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f"
)
_UNSEEN_CHARACTER = re.compile(f"[{_UNSEEN}]")
# The same without line feed and tab.
_UNSEEN_IN_LINES = re.compile(rf"(?![\n\t])[{_UNSEEN}]")
# XML 1.0 can't hold these, not even as escapes. Its readers turn a carriage return into a line feed.
_NOT_IN_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

# At the beginning of a cell, a spreadsheet takes these for a formula. In some countries ";" ends a cell. An
# apostrophe is in the list, so that each one that is added can be told from one of the name.
_FORMULA = re.compile(r"(^|;)(?=\s*['=+\-@＝＋－＠])")
_ADDED_APOSTROPHE = re.compile(r"(^|;)'")
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([nrt\\]))")
_MEANING = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}

# What the screen shows instead of a sign that its encoding lacks. Others become escapes, such as `\ucef5`.
_OTHER_SIGNS = {
    "→": "->", "…": "...", "–": "-", "—": "-", "−": "-", "·": ".", "±": "+-", "×": "x", "²": "^2", "µ": "u",
    "≤": "<=", "≥": ">=", "‘": "'", "’": "'", "“": '"', "”": '"', "✓": "yes", "✗": "no",
}  # fmt: skip

# A text that no dialect of Markdown takes for anything but itself.
_PLAIN = re.compile(r"(?:[^\W_]|%|[+-](?=\d))(?:[\w/()%±–−]|[ ,@=+.'-](?=[^ ])|[,.:;](?= |$))*")
# What some dialects turn into links: names of hosts, which have a dot before at least two letters (so names
# of files are code, too), and of users. Then underscores that are not inside a word.
_NOT_PLAIN = re.compile(
    r"\.(?=[^\W\d_]{2})|www\.|@[\w-]*\.|(?<![^\W_])@|(?<![^\W_])_|_(?![^\W_])", re.IGNORECASE
)
_PIPE_AFTER_BACKSLASH = re.compile(r"(?<=\\)\|")


def is_unicode(text: str) -> bool:
    """Whether UTF-8 has the text. It has no half of a UTF-16 pair, as in a file name that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def not_in_xml(text: str) -> str:
    """The first character that no XML holds, or a carriage return, which its readers change; else empty."""
    found = _NOT_IN_XML.search(text)
    return found[0] if found else ""


def visible(text: str) -> str:
    r"""A name as one line: what cannot be seen is written as an escape.

    Example:
        >>> from reldn_d2.utils.plain_text import visible
        >>> print(visible("cup\x1b[2J\u202egpj.exe"), visible("컵 ☕"))
        cup\x1b[2J\u202egpj.exe 컵 ☕
    """
    return _UNSEEN_CHARACTER.sub(_escape, text)


class Lines(str):
    """A message of several lines, in contrast to one line with a name that holds line feeds."""

    @classmethod
    def of(cls, *lines: str) -> "Lines":
        """Joins lines; what cannot be seen in them is written as `visible` does it."""
        return cls("\n".join(map(visible, lines)))


def visible_lines(text: str) -> str:
    """A text of several lines, as `visible`; line feeds and tabs stay."""
    return _UNSEEN_IN_LINES.sub(_escape, text)


def short(text: str, longest: int = _LONGEST_NAME) -> str:
    """A name for a table or a drawing: as `visible`, and cut after `longest` characters."""
    text = visible(text[: longest + 1])
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def in_encoding(text: str, encoding: str | None) -> str:
    r"""A text in which signs that an encoding lacks are written in another way.

    Args:
        text: the text.
        encoding: encoding of a screen or a file that text is written to; None: any sign may be written.

    Example:
        >>> from reldn_d2.utils.plain_text import in_encoding
        >>> print(in_encoding("cat → 컵", "cp1252"), in_encoding("cat → 컵", "utf-8"))
        cat -> \ucef5 cat → 컵
    """
    if encoding is None:
        return text
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, _ANOTHER_SIGN).decode(encoding)
    return text


def _another_sign(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of Python's codecs: what is written in place of the signs that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    sign = error.object[error.start]
    return _OTHER_SIGNS.get(sign) or sign.encode("ascii", "backslashreplace").decode(), error.start + 1


_ANOTHER_SIGN = "reldn_d2.another_sign"
codecs.register_error(_ANOTHER_SIGN, _another_sign)


def say(*texts: object, error: bool = False, end: str = "\n") -> None:
    """Print texts on the screen, each in a line of its own, as `visible_lines` and `in_encoding`.

    Args:
        texts: what to print.
        error: print on standard error.
        end: what follows the last text.
    """
    stream = sys.stderr if error else sys.stdout
    encoding = getattr(stream, "encoding", None)
    shown = (in_encoding(visible_lines(str(text)), encoding) for text in texts)
    print(*shown, sep="\n", end=end, file=stream, flush=True)


def to_csv(text: str) -> str:
    r"""A field of a CSV file that no spreadsheet runs; `from_csv` gives the text back.

    An apostrophe stands before what a spreadsheet would take for a formula, and before an apostrophe at the
    same place. Backslashes are doubled, and what cannot be seen is written as `visible` does it.

    Example:
        >>> from reldn_d2.utils.plain_text import from_csv, to_csv
        >>> [to_csv(text) for text in ("cup", "next to", "=1+1", "-2;@SUM(A1)")]
        ['cup', 'next to', "'=1+1", "'-2;'@SUM(A1)"]
        >>> from_csv(to_csv("=1+1"))
        '=1+1'
    """
    return _FORMULA.sub(r"\1'", visible(text.replace("\\", "\\\\")))


def from_csv(field: str) -> str:
    r"""The text that `to_csv` was given. A field that it would not write so is left as it is.

    Example:
        >>> from reldn_d2.utils.plain_text import from_csv
        >>> print(from_csv(r"photos\\one.jpg"), from_csv(r"photos\one.jpg"), from_csv("'quoted'"))
        photos\one.jpg photos\one.jpg 'quoted'
    """
    try:
        text = _ESCAPE.sub(_unescape, _ADDED_APOSTROPHE.sub(r"\1", field))
    # There is no such character.
    except (ValueError, OverflowError):
        return field
    return text if to_csv(text) == field else field


def to_markdown(text: str) -> str:
    """A name in Markdown: unchanged if it is plain, else as code, which holds no links, HTML or other markup.

    Example:
        >>> from reldn_d2.utils.plain_text import to_markdown
        >>> print(to_markdown("next to"), to_markdown("<b>"), to_markdown("[x](javascript:y)"))
        next to `<b>` `[x](javascript:y)`
        >>> print(to_markdown("example.com"), to_markdown("@user"), to_markdown("R@20: 3.5"))
        `example.com` `@user` R@20: 3.5
    """
    plain = _PLAIN.fullmatch(text) and not _NOT_PLAIN.search(text)
    return text if plain else to_code(text)


def to_code(text: str) -> str:
    """A text as code in a line of Markdown."""
    text = visible(text)
    if not text:
        return text
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    # Markdown removes a space at both ends, unless there is nothing else.
    room = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{room}{text}{room}{fence}" if text.strip() else f"{fence}{text}{fence}"


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str] | None = None
) -> str:
    """A table in Markdown.

    Args:
        header: names of the columns.
        rows: cells as texts. Text is shown as it is; it is never markup.
        align: "left" or "right" for each column; None: all to the left.
    """
    header, *rows = ([_cell(text) for text in row] for row in (header, *rows))
    # Without `disable_numparse`, tabulate would format names that look like numbers.
    return tabulate(rows, header, "pipe", disable_numparse=True, colalign=align)


def _cell(text: str) -> str:
    """A cell of a table. A table ends a cell at every "|" that has no backslash, in code, too."""
    text = short(text, _LONGEST_CELL)
    if text in ("-", "–", ""):
        return text
    return to_markdown(_PIPE_AFTER_BACKSLASH.sub(r"\\x7c", text)).replace("|", "\\|")


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    number = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _unescape(found: re.Match[str]) -> str:
    *numbers, letter = found.groups()
    return _MEANING[letter] if letter else chr(int(next(filter(None, numbers)), 16))
