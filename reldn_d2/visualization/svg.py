"""Matplotlib figures as SVG inside a page."""

from io import BytesIO
from typing import NewType
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from .fonts import BASE, without_glyph_warnings

#: A drawing of this package: markup that goes into a page unchanged.
Svg = NewType("Svg", Markup)

_NAMESPACE = "http://www.w3.org/2000/svg"
# At 72 dots per inch, a typographic point is a pixel.
_DOTS_PER_INCH = 72
# Share of its size to which a drawing shrinks on a narrow page. Below it, the page scrolls.
_SMALLEST = 0.65


def pixel_figure(width: float, height: float) -> Figure:
    """An empty figure of (width, height) pixels, in which font sizes and line widths are pixels, too."""
    return Figure(figsize=(width / _DOTS_PER_INCH, height / _DOTS_PER_INCH), dpi=_DOTS_PER_INCH)


def figure_to_svg(figure: Figure, label: str) -> Svg:
    """Write a figure as inline SVG; equal figures give equal markup.

    The background is transparent, and black becomes the text colour of the page, light or dark. Texts stay
    texts. Ids, clip paths and definitions are removed, because they would act on the whole page. So the
    figure must not contain parts that need them: markers, tick marks, hatches, or clipped parts.

    Args:
        figure: a figure of `pixel_figure`.
        label: description of the drawing, for readers who do not see it.
    """
    buffer = BytesIO()
    # A browser has fonts of its own for letters that this machine has none for.
    with rc_context({"svg.fonttype": "none", "font.sans-serif": [BASE]}), without_glyph_warnings():
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    drawing = ElementTree.fromstring(buffer.getvalue())
    for element in drawing.iter():
        for definitions in element.findall(f"{{{_NAMESPACE}}}defs"):
            element.remove(definitions)
        element.tag = element.tag.removeprefix(f"{{{_NAMESPACE}}}")
        for name in ("id", "clip-path"):
            element.attrib.pop(name, None)
        if "style" in element.attrib:
            element.attrib["style"] = element.attrib["style"].replace("#000000", "currentColor")
    width, height = figure.get_size_inches() * _DOTS_PER_INCH
    drawing.attrib = {
        "xmlns": _NAMESPACE,
        "viewBox": f"0 0 {width:g} {height:g}",
        "width": f"{width:g}",
        "height": f"{height:g}",
        "role": "img",
        "aria-label": label,
        # Matplotlib writes no colour for black text.
        "fill": "currentColor",
        "style": f"max-width:100%;min-width:{_SMALLEST * width:.0f}px;height:auto;color:var(--ink,#1c2530)",
    }
    return Svg(Markup(ElementTree.tostring(drawing, encoding="unicode")))


def note_svg(width: float, label: str, text: str) -> Svg:
    """A drawing that holds only a text: the reason why there is nothing to draw."""
    figure = pixel_figure(width, 40)
    figure.text(0.5, 0.5, text, ha="center", va="center", size=13)
    return figure_to_svg(figure, label)
