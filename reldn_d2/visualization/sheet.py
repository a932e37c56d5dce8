"""The sheet that scene graphs are drawn on; it is put over an image or written as SVG."""

from io import BytesIO

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, Patch
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path

from .images import Image
from .layout import Array
from .svg import Svg, figure_to_svg, pixel_figure

#: The dark colour of texts and rims.
INK = "#101418"


class Sheet:
    """A transparent sheet with the pixels of an image; y points down.

    Attributes:
        width, height: size in pixels.
        unit: unit of length, in pixels: a thousandth of the longer side.
        axes: Matplotlib axes of the whole sheet, in pixels.
        font: font of the labels.
    """

    def __init__(self, width: int, height: int, text_scale: float = 1.0) -> None:
        self.width, self.height = width, height
        self.unit = max(width, height) / 1000
        self._figure = pixel_figure(width, height)
        self._figure.patch.set_alpha(0)
        self.axes = self._figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)
        # The second family is for browsers without the first one.
        families = ["DejaVu Sans", "sans-serif"]
        self.font = FontProperties(family=families, weight="bold", size=19 * self.unit * text_scale)

    def add(self, patch: Patch, halo: float = 0.0, order: float = 2.0) -> None:
        """Add a shape, with a dark rim of `halo` units that separates it from any background."""
        if halo:
            width = patch.get_linewidth() + 2 * halo * self.unit
            patch.set_path_effects([withStroke(linewidth=width, foreground=INK, alpha=0.55)])
        patch.set_zorder(order)
        self.axes.add_patch(patch)

    def label_size(self, text: str) -> tuple[float, float]:
        """Width and height of a label in pixels, with its margins."""
        size = self.font.get_size_in_points()
        width = text_to_path.get_text_width_height_descent(text, self.font, False)[0]
        return float(width) + 0.9 * size, 1.5 * size

    def label(self, box: Array, text: str, fill: object, colour: str, rim: str) -> None:
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
        self.add(plate, order=5)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2 + 0.03 * size)
        # A class name may hold a dollar sign, which would otherwise start a formula.
        self.axes.text(
            *middle, text, ha="center", va="center_baseline", fontproperties=self.font, color=colour,
            zorder=6, parse_math=False,
        )  # fmt: skip

    def over(self, image: Image) -> Image:
        """Put this sheet over an image. Pixels without a drawing keep their exact value."""
        buffer = BytesIO()
        self._figure.savefig(buffer, format="rgba", dpi=72)
        sheet = np.frombuffer(buffer.getvalue(), dtype=np.uint8).reshape(self.height, self.width, 4)
        alpha = sheet[..., 3:] / np.float32(255)
        return np.asarray(np.rint(image * (1 - alpha) + sheet[..., :3] * alpha), dtype=np.uint8)

    def svg(self, label: str) -> Svg:
        """The sheet as inline SVG; `label` describes it."""
        return figure_to_svg(self._figure, label)
