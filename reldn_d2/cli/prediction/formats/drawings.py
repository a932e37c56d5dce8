"""drawings: a PNG for each image, with its relationships or, if there are none, its entities."""

import numpy as np

from reldn_d2.data.images import read_image

from .writer import FileWriter, Result


class Drawings(FileWriter):
    """One drawing an image."""

    ending = ".png"

    def encode(self, result: Result) -> bytes:
        """Reads the image again, and draws the graph on it."""
        from reldn_d2.visualization import draw_scene_graph  # late: it imports matplotlib
        from reldn_d2.visualization.images import encode_image

        picture = np.ascontiguousarray(read_image(str(result.path), "RGB"))
        drawing = draw_scene_graph(
            picture, result.graph, top_n=result.top_k, score_threshold=result.score_threshold
        )
        return encode_image(drawing, "png")
