"""The sheet that scene graphs are drawn on; it is put over an image or written as SVG."""

from collections.abc import Iterable

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D

from .fonts import font_of, without_glyph_warnings
from .images import Image
from .labels import INK
from .layout import Array, head_corners
from .svg import Svg, figure_to_svg, pixel_figure

#: Length of an arrow's head in units.
HEAD = 15
# Number of pixels that are put over an image at a time.
_PART = 2**20


class Sheet:
    """A transparent sheet with the pixels of an image; y points down.

    Attributes:
        width, height: size in pixels.
        unit: unit of length, in pixels: a thousandth of the longer side. In a panorama it is a thousandth of
            four times the shorter side, so that text fits, or of 800 pixels, so that it is legible.
        font: font of the labels.

    Args:
        width, height: size in pixels.
        text_scale: factor of the text size.
        texts: all texts that will be written, which the font depends on.
    """

    def __init__(self, width: int, height: int, text_scale: float = 1.0, texts: Iterable[str] = ()) -> None:
        self.width, self.height = width, height
        self.unit = min(max(width, height), max(4 * min(width, height), 800)) / 1000
        self._figure = pixel_figure(width, height)
        self._figure.patch.set_alpha(0)
        # Shapes lie on the figure itself: axes take longer to make than ten labels.
        self._pixels = Affine2D()
        self.resize(width, height)
        self.font = font_of(texts, 19 * self.unit * text_scale)
        self._widths: dict[str, float] = {}
        renderer = RendererAgg(1, 1, self._figure.dpi)  # type: ignore[no-untyped-call]
        self._measures = text_to_path, renderer

    def resize(self, width: int, height: int) -> None:
        """Change the size to the right and below. What is drawn, and the unit of length, stay."""
        self.width, self.height = width, height
        self._figure.set_size_inches(width / self._figure.dpi, height / self._figure.dpi)
        self._pixels.clear().scale(1, -1).translate(0, height)

    def outline(self, box: Array, colour: str) -> None:
        """Draw the outline of a box (4,)."""
        size = box[2:] - box[:2]
        self._add(Rectangle(tuple(box[:2]), *size, fill=False, ec=colour, lw=3 * self.unit), 2, halo=1.5)

    def dot(self, centre: Array, radius: float, colour: str) -> None:
        """Draw a dot at a point (2,)."""
        self._add(Circle(tuple(centre), radius, fc=colour, ec=INK, lw=1.5 * self.unit), 4)

    def line(self, points: Array, colour: str, width: float = 3.0) -> None:
        """Draw a line of `width` units through points (n, 2)."""
        line = PathPatch(Path(points), fill=False, ec=colour, lw=width * self.unit, capstyle="butt")
        self._add(line, 3, halo=0.5 * width)

    def arrow_head(self, points: Array, colour: str) -> None:
        """Draw a head at the end of points (n, 2); see `head_corners`."""
        head = Polygon(head_corners(points, HEAD * self.unit), fc=colour, ec=colour, lw=self.unit)
        self._add(head, 3, halo=1.5)

    def label_size(self, text: str) -> tuple[float, float]:
        """Width and height of a label in pixels, with its margins."""
        size = self.font.get_size_in_points()
        return self.text_width(text) + 0.9 * size, 1.5 * size

    def text_width(self, text: str) -> float:
        """Width of a text in pixels."""
        if text not in self._widths:
            # Drawn letters are wider than their outlines, which SVG has: they begin at whole pixels.
            with without_glyph_warnings():
                widths = [x.get_text_width_height_descent(text, self.font, False)[0] for x in self._measures]
            self._widths[text] = float(max(widths))
        return self._widths[text]

    def label(self, box: Array, text: str, fill: str, colour: str, rim: str) -> None:
        """Write a text on a filled plate.

        Args:
            box: (4,) XYXY, the plate.
            text: text in the middle of the plate.
            fill, colour, rim: colours of the plate, of the text and of the plate's rim.
        """
        size = self.font.get_size_in_points()
        inset = self.unit
        x, y, width, height = box[0] + inset, box[1] + inset, box[2] - box[0], box[3] - box[1]
        style = f"round,pad=0,rounding_size={0.3 * size}"
        plate = FancyBboxPatch(
            (x, y), width - 2 * inset, height - 2 * inset, boxstyle=style, fc=fill, ec=rim, lw=1.4 * self.unit
        )
        self._add(plate, 5)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2 + 0.03 * size)
        self.text(middle, text, colour, align="center")

    def text(self, point: tuple[float, float], text: str, colour: str, align: str = "left") -> None:
        """Write a text, at the middle of its height, that begins or has its middle at a point."""
        # A class name may hold a dollar sign, which would otherwise start a formula.
        self._figure.text(
            *point, text, transform=self._pixels, ha=align, va="center_baseline", fontproperties=self.font,
            color=colour, zorder=6, parse_math=False,
        )  # fmt: skip

    def over(self, image: Image) -> Image:
        """Put this sheet over an image of its size. Pixels without a drawing keep their exact value."""
        canvas = FigureCanvasAgg(self._figure)
        with without_glyph_warnings():
            canvas.draw()  # type: ignore[no-untyped-call]
        sheet = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        result = image.copy()
        # In parts, because the numbers between take up to 70 bytes for each pixel with a drawing.
        rows = max(_PART // self.width, 1)
        for top in range(0, len(result), rows):
            _blend(result[top : top + rows], sheet[top : top + rows])
        return result

    def svg(self, label: str) -> Svg:
        """The sheet as inline SVG; `label` describes it."""
        return figure_to_svg(self._figure, label)

    def _add(self, patch: Patch, order: float, halo: float = 0.0) -> None:
        """Add a shape, with a dark rim of `halo` units that separates it from any background."""
        if halo:
            width = patch.get_linewidth() + 2 * halo * self.unit
            patch.set_path_effects([withStroke(linewidth=width, foreground=INK, alpha=0.55)])
        patch.set_zorder(order)
        patch.set_transform(self._pixels)
        self._figure.add_artist(patch)


def _blend(image: Image, sheet: Image) -> None:
    """Put a part (h, W, 4) of a sheet over that part (h, W, 3) of an image, which is changed."""
    drawn = sheet[..., 3] > 0
    colours = sheet[drawn]
    alpha = colours[:, 3:] / np.float32(255)
    image[drawn] = np.rint(image[drawn] * (1 - alpha) + colours[:, :3] * alpha)
