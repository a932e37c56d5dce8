"""Small helpers for SVG drawings that follow the page's light or dark colours."""

from html import escape
from typing import NewType

#: Markup that this package made: everything from outside in it is escaped.
Svg = NewType("Svg", str)

_NAMESPACE = "http://www.w3.org/2000/svg"


def svg(width: float, height: float, label: str, body: list[str]) -> Svg:
    """A whole drawing, which shrinks with its page.

    Args:
        width, height: in pixels.
        label: what the drawing shows, for readers who don't see it.
        body: lines of finished markup.
    """
    head = (
        f'<svg xmlns="{_NAMESPACE}" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img" aria-label="{escape(label)}" font-family="system-ui, sans-serif" font-size="13" '
        'style="max-width:100%;height:auto;color:var(--ink,#1c2530)">'
    )
    return Svg("\n".join([head, *body, "</svg>"]))


def text(x: float, y: float, content: str, anchor: str = "middle", **attributes: str) -> str:
    """A line of text, with a rim in the page's colour so that it can lie on lines."""
    more = "".join(f' {name.replace("_", "-")}="{escape(value)}"' for name, value in attributes.items())
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor" '
        f'stroke="var(--paper,#fff)" stroke-width="4" stroke-linejoin="round" paint-order="stroke"{more}>'
        f"{escape(content)}</text>"
    )


def polyline(points: list[tuple[float, float]], colour: str, width: float, more: str = "") -> str:
    """An open line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}" {more}/>'
