"""Bar charts of counts, as SVG."""

from collections.abc import Sequence

from .svg import Svg, svg, text

# In pixels: a line; a column, its names and its longest bar, which leaves room for the numbers.
_LINE, _COLUMN, _NAMES, _BAR = 22, 352, 158, 100
# Letters of a name that fit.
_LONGEST = 21


def bars_svg(counts: Sequence[tuple[str, int]], *, columns: int = 3) -> Svg:
    """A horizontal bar for each count, with its share of all.

    Args:
        counts: (name, count), which fill one column after the other. Counts are at least 0.
        columns: at most so many, all of one scale.

    Returns:
        An inline SVG.
    """
    total, longest = sum(count for _, count in counts), max((count for _, count in counts), default=0)
    height = -(-len(counts) // columns)
    body = []
    for place, (name, count) in enumerate(counts):
        column, row = divmod(place, height)
        left, middle = column * _COLUMN + _NAMES, _LINE * (row + 0.5)
        # what is there at all can be seen
        width = max(_BAR * count / longest, 1.5) if count else 0.0
        share = f" · {100 * count / total:.1f} %" if total else ""
        shown = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        body += [
            text(left - 8, middle + 4.5, shown, "end"),
            f'<rect x="{left}" y="{middle - 7:g}" width="{width:.1f}" height="14" rx="2" '
            'fill="var(--accent,#2f7bd9)"/>',
            text(left + width + 7, middle + 4.5, f"{count:,}{share}", "start"),
        ]
    label = ", ".join(f"{name} {count}" for name, count in counts)
    return svg(_COLUMN * columns, _LINE * height, label, body)
