"""The panel below a drawing: what has no place in it, and what has to be said about it."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from .sheet import Sheet


@dataclass(frozen=True)
class Style:
    """Colours of a label: of its plate, its text and its rim."""

    fill: str
    colour: str
    rim: str


@dataclass(frozen=True)
class _Row:
    number: str
    text: str
    style: Style | None


class Panel:
    """Rows, with or without a number, in as many columns as fit, on white (in SVG on the page)."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []
        self._count = 0

    @property
    def next_number(self) -> str:
        """The number that the next row with a style gets."""
        return str(self._count + 1)

    def add(self, text: str, style: Style | None = None) -> None:
        """Add a row, with a number if that has a style, which it has in the drawing, too."""
        self._rows.append(_Row(self.next_number if style else "", text, style))
        self._count += style is not None

    def draw(self, sheet: Sheet) -> None:
        """Draw the panel below what is on the sheet, which gets as much higher and wider as that needs."""
        if not self._rows:
            return
        size = sheet.font.get_size_in_points()
        numbers = max((sheet.label_size(row.number)[0] for row in self._rows if row.number), default=0.0)
        left = numbers + (0.5 * size if numbers else 0.0)
        column = left + max(sheet.text_width(row.text) for row in self._rows) + 1.6 * size
        columns = max(int((sheet.width - size) // column), 1)
        lines = ceil(len(self._rows) / columns)
        height, top = 1.75 * size, sheet.height
        width = max(sheet.width, ceil(size + column * min(columns, len(self._rows)) - 0.6 * size))
        sheet.resize(width, top + ceil(height * lines + size))
        for place, row in enumerate(self._rows):
            x = 0.8 * size + place // lines * column
            y = top + 0.5 * size + (place % lines + 0.5) * height
            if row.style is not None:
                wide, high = sheet.label_size(row.number)
                plate = np.array([x + numbers - wide, y - high / 2, x + numbers, y + high / 2])
                sheet.label(plate, row.number, row.style.fill, row.style.colour, row.style.rim)
            # In SVG, black becomes the text colour of the page.
            sheet.text((x + left, y + 0.03 * size), row.text, "black")
