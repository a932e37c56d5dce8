"""Reports as one HTML file that needs nothing else: no script, no network, pictures inside."""

import base64
import os
from collections.abc import Container, Mapping, Sequence
from html import escape
from typing import Literal, Self

import cv2
import numpy as np
import numpy.typing as npt

from reldn_d2.utils.io import atomic_write

from .report_style import STYLE
from ..svg import Svg

Image = npt.NDArray[np.uint8]
Cell = str | int | float | None


class Report:
    """Builds a report from top to bottom; every method but `write` returns the report itself.

    All texts are plain text and are escaped.

    Args:
        title: heading of the page and of the browser's tab.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []

    def heading(self, text: str) -> Self:
        """Begin a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")
        return self

    def paragraph(self, text: str) -> Self:
        """Add a paragraph."""
        self._parts.append(f"<p>{escape(text)}</p>")
        return self

    def code(self, text: str) -> Self:
        """Add commands or other text whose lines are kept."""
        self._parts.append(f"<pre><code>{escape(text)}</code></pre>")
        return self

    def table(
        self,
        rows: Sequence[Mapping[str, Cell]],
        *,
        caption: str = "",
        best: Mapping[str, Literal["max", "min"]] | None = None,
        digits: int = 2,
        footnotes: Sequence[str] = (),
    ) -> Self:
        """Add a table.

        Args:
            rows: column header -> cell; columns come in order of first appearance, a missing cell or None is
                shown as a dash. Integers are shown with thousands separators.
            caption: above the table.
            best: for each column to highlight, whether its highest or its lowest number is the best; equal
                ones are all highlighted.
            digits: decimal places of floats.
            footnotes: lines under the table.

        Raises:
            ValueError: no row, or a column of `best` that is not in the table.
        """
        columns = list(dict.fromkeys(column for row in rows for column in row))
        if not columns:
            raise ValueError(f"the table {caption!r} has no row with a column; leave it out")
        unknown = sorted(set(best or {}) - set(columns))
        if unknown:
            raise ValueError(f"the table {caption!r} has no column {unknown} to highlight; it has {columns}")
        numeric = {c for c in columns if all(isinstance(row.get(c), int | float | None) for row in rows)}
        winners = {c: _best_text(rows, c, which, digits) for c, which in (best or {}).items()}
        align = {c: ' class="number"' if c in numeric else "" for c in columns}
        head = "".join(f'<th scope="col"{align[c]}>{escape(c)}</th>' for c in columns)
        body = [f"<tr>{_row_cells(row, columns, numeric, winners, digits)}</tr>" for row in rows]
        title = f"<caption>{escape(caption)}</caption>" if caption else ""
        self._parts.append(
            f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead>\n<tbody>'
            + "\n".join(body)
            + "</tbody></table></div>"
        )
        self._parts += [f'<p class="footnote">{escape(note)}</p>' for note in footnotes]
        return self

    def pictures(
        self, row: Sequence[tuple[Image | Svg, str]], *, as_photo: bool = True, grid: bool = False
    ) -> Self:
        """Add pictures beside each other (below each other on narrow screens).

        Args:
            row: (picture, caption); a picture is (H, W, 3) uint8 RGB or a drawing of this package.
            as_photo: JPEG, small; False keeps every pixel exact (PNG).
            grid: all of one width, however many are in the last line; False fills each line.

        Raises:
            ValueError: a picture of another shape or type.
        """
        figures = []
        for picture, caption in row:
            shown = picture if isinstance(picture, str) else _embedded(picture, caption, as_photo)
            figures.append(f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>")
        self._parts.append('<div class="{}">{}</div>'.format("grid" if grid else "row", "\n".join(figures)))
        return self

    def html(self) -> str:
        """The whole page."""
        title = escape(self._title)
        return "\n".join(
            [
                "<!DOCTYPE html>",
                '<html lang="en"><head><meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{title}</title><style>\n{STYLE}\n</style></head>",
                f"<body><main><h1>{title}</h1>",
                *self._parts,
                "</main></body></html>\n",
            ]
        )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page in one step; missing folders are made."""
        with atomic_write(path) as file:
            file.write(self.html().encode())


def _tag(name: str, content: str, classes: Sequence[str]) -> str:
    attribute = f' class="{" ".join(classes)}"' if classes else ""
    return f"<{name}{attribute}>{content}</{name}>"


def _row_cells(
    row: Mapping[str, Cell],
    columns: Sequence[str],
    numeric: Container[str],
    winners: Mapping[str, str | None],
    digits: int,
) -> str:
    cells = []
    for column in columns:
        shown = _cell_text(row.get(column), digits)
        classes = ["number"] * (column in numeric) + ["best"] * (shown == winners.get(column))
        cells.append(_tag("td", escape(shown), classes))
    return "".join(cells)


def _cell_text(value: Cell, digits: int) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else value


def _best_text(
    rows: Sequence[Mapping[str, Cell]], column: str, which: Literal["max", "min"], digits: int
) -> str | None:
    """The best number of a column as it is shown: cells that look equal are highlighted alike."""
    values = [value for row in rows if isinstance(value := row.get(column), int | float) and value == value]
    if not values:
        return None
    return _cell_text(max(values) if which == "max" else min(values), digits)


def _embedded(picture: Image, caption: str, as_photo: bool) -> str:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"picture {caption!r} must be (H, W, 3) uint8, not {picture.shape} {picture.dtype}")
    bgr = np.ascontiguousarray(picture[..., ::-1])
    kind = "jpeg" if as_photo else "png"
    done, data = cv2.imencode(f".{kind}", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90] if as_photo else [])
    if not done:
        raise ValueError(f"picture {caption!r} of size {picture.shape} can't be encoded as {kind}")
    content = base64.b64encode(data.tobytes()).decode()
    size = f'width="{picture.shape[1]}" height="{picture.shape[0]}"'
    return f'<img src="data:image/{kind};base64,{content}" alt="{escape(caption)}" {size}>'
