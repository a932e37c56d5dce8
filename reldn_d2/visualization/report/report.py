"""Reports as one HTML file, which needs no script, no network and no other file."""

import base64
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reldn_d2.scene_graphs import SceneGraph
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import visible_lines

from ..images import Image, check_image, encode_image
from ..labels import entity_names
from ..svg import Svg

Cell = str | int | float | None

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_TEMPLATES = Environment(
    loader=PackageLoader(__package__),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
    # Jinja2 escapes markup. A drawing is markup of this package.
    finalize=lambda value: visible_lines(value) if type(value) is str else value,
)


class Report:
    """Builds a report from top to bottom; every method except `html` and `write` returns the report itself.

    All texts are plain text: markup is escaped, and what cannot be seen is written as an escape. A browser
    runs no script and fetches nothing for the page.

    Args:
        title: heading of the page and of the browser's tab.

    Example:
        >>> import numpy as np
        >>> from reldn_d2.visualization import Report
        >>> photo = np.full((90, 80, 3), 128, dtype=np.uint8)
        >>> rows = [{"model": "mine", "R@50": 61.2}, {"model": "yours", "R@50": 59.8}]
        >>> report = Report("Two models").heading("Recall").table(rows, digits=1, best={"R@50": "max"})
        >>> report = report.heading("Photos").pictures([(photo, "kitchen.jpg")])
        >>> page = report.html()  # or report.write("report.html")
        >>> "61.2" in page, "data:image/jpeg" in page
        (True, True)
    """

    def __init__(self, title: str) -> None:
        self._title = title
        # What the template shows, from top to bottom, by section: the kind of a part and its values.
        self._sections: list[list[dict[str, Any]]] = []

    def heading(self, text: str) -> Self:
        """Begin a section."""
        return self._add("heading", text=text)

    def subheading(self, text: str) -> Self:
        """Begin a part of a section."""
        return self._add("subheading", text=text)

    def note(self, text: str) -> Self:
        """Add a paragraph in a frame, which nobody should overlook."""
        return self._add("note", text=text)

    def paragraph(self, text: str) -> Self:
        """Add a paragraph."""
        return self._add("paragraph", text=text)

    def code(self, text: str) -> Self:
        """Add commands or other text whose lines are kept."""
        return self._add("code", text=text)

    def legend(self, entries: Sequence[tuple[Sequence[str], str]]) -> Self:
        """Explain the colours of pictures.

        Args:
            entries: (colours, meaning) pairs. A colour is "#rrggbb"; several ones are a scale from left to
                right.

        Raises:
            ValueError: a colour is written in another way, or an entry has none.
        """
        for colours, meaning in entries:
            if not colours or not all(_COLOUR.fullmatch(colour) for colour in colours):
                raise ValueError(f"the legend {meaning!r} has {list(colours)}; write colours as '#rrggbb'")
        return self._add("legend", entries=[(list(colours), meaning) for colours, meaning in entries])

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
            rows: column header -> cell. Columns come in order of first appearance; a missing cell or None is
                shown as a dash. Integers are shown with thousands separators.
            caption: text above the table.
            best: column header -> whether its highest or its lowest number is highlighted; equal ones are all
                highlighted.
            digits: decimal places of floats.
            footnotes: lines under the table.

        Raises:
            ValueError: there is no row, or `best` names a column that is not in the table.
        """
        columns = list(dict.fromkeys(column for row in rows for column in row))
        if not columns:
            raise ValueError(f"the table {caption!r} has no row with a column; leave it out")
        unknown = sorted(set(best or {}) - set(columns))
        if unknown:
            raise ValueError(f"the table {caption!r} has no column {unknown} to highlight; it has {columns}")
        numeric = {c for c in columns if all(isinstance(row.get(c), int | float | None) for row in rows)}
        winners = {c: _best_text(rows, c, which, digits) for c, which in (best or {}).items()}
        shown = [{c: _cell_text(row.get(c), digits) for c in columns} for row in rows]

        def classes(column: str, text: str | None = None) -> str:
            is_best = text is not None and text == winners.get(column)
            return " ".join(["number"] * (column in numeric) + ["best"] * is_best)

        return self._add(
            "table",
            caption=caption,
            head=[(column, classes(column)) for column in columns],
            body=[[(text, classes(column, text)) for column, text in row.items()] for row in shown],
            footnotes=footnotes,
        )

    def pictures(
        self, row: Sequence[tuple[Image | Svg, str]], *, as_photo: bool = True, grid: bool = False
    ) -> Self:
        """Add pictures beside each other (below each other on narrow screens).

        Args:
            row: (picture, caption) pairs; a picture is (H, W, 3) uint8 RGB or a drawing of this package.
            as_photo: True writes small JPEG images; False keeps every pixel exact (PNG).
            grid: True gives all pictures the same width, also in the last line; False fills each line.

        Raises:
            ValueError: a picture has another shape or type.
        """
        figures = [
            {"caption": caption, "svg": picture}
            if isinstance(picture, Markup)
            else {"caption": caption, "svg": None, **_embedded(picture, caption, as_photo)}
            for picture, caption in row
        ]
        return self._add("pictures", figures=figures, arrangement="grid" if grid else "row")

    def html(self) -> str:
        """The whole page."""
        template = _TEMPLATES.get_template("report.html.jinja")
        return template.render(title=self._title, sections=self._sections)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page in one step; missing folders are created."""
        with atomic_write(path) as file:
            file.write(self.html().encode())

    def _add(self, kind: str, **values: object) -> Self:
        if kind == "heading" or not self._sections:
            self._sections.append([])
        self._sections[-1].append({"kind": kind, **values})
        return self


def prediction_html(picture: Image | None, graph: SceneGraph) -> str:
    """A drawn scene graph and its relationships, as a part of a page, for notebooks.

    Args:
        picture: (H, W, 3) uint8 RGB, the drawing; None: there is none.
        graph: the scene graph; its relationships become a table.
    """
    names = entity_names(graph)
    rows = [
        (names[x["subject"]], x["predicate"], names[x["object"]], _cell_text(x["score"], 3))
        for x in graph["relationships"]
    ]
    number = len(graph["entities"])
    return _TEMPLATES.get_template("prediction.html.jinja").render(
        picture=None if picture is None else _embedded(picture, "prediction", as_photo=True),
        caption=f"{number} entities; the best {len(rows)} relationships"
        if rows
        else f"{number} entities, no relationship",
        rows=rows,
    )


def _cell_text(value: Cell, digits: int) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else value


def _best_text(
    rows: Sequence[Mapping[str, Cell]], column: str, which: Literal["max", "min"], digits: int
) -> str | None:
    """The best number of a column as the table shows it: cells that look equal are all highlighted."""
    values = [value for row in rows if isinstance(value := row.get(column), int | float) and value == value]
    if not values:
        return None
    return _cell_text(max(values) if which == "max" else min(values), digits)


def _embedded(picture: Image, caption: str, as_photo: bool) -> dict[str, str | int]:
    """A picture as data URL, and its size."""
    name = f"picture {caption!r}"
    check_image(picture, name)
    kind: Literal["jpeg", "png"] = "jpeg" if as_photo else "png"
    content = base64.b64encode(encode_image(picture, kind, name)).decode()
    height, width = picture.shape[:2]
    return {"source": f"data:image/{kind};base64,{content}", "width": width, "height": height}
