"""Large photos and panoramas: the memory of a drawing, and text that fits."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reldn_d2.visualization import build_scene_graph, draw_scene_graph

# Prints the memory in bytes, above that before, that a process needs at most to read or draw a photo.
MEASURE = """
import re, sys
from pathlib import Path
import numpy as np
from reldn_d2.cli.prediction.formats.drawings import Drawings
from reldn_d2.cli.prediction.formats.writer import Result
from reldn_d2.data.images import read_image
from reldn_d2.visualization import build_scene_graph, draw_scene_graph

def graph(width, height):
    corners = np.random.default_rng(0).uniform(0, 0.7, (30, 2))
    boxes = np.concatenate([corners, np.full((30, 2), 0.25)], axis=1) * [width, height, width, height]
    pairs = [(i, (i * 7 + 1) % 30, "stands next to") for i in range(30) if i != (i * 7 + 1) % 30]
    image = {"file_name": "a", "width": width, "height": height}
    return build_scene_graph(image, ["cup"] * 30, boxes.tolist(), pairs)

def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

draw_scene_graph(np.zeros((80, 80, 3), np.uint8), graph(80, 80))  # loads fonts
path = Path(sys.argv[2])
Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
before = memory("VmRSS")
if sys.argv[1] == "read":
    read_image(str(path), "RGB")
else:
    Drawings(path.parent).encode(Result(path, "a", graph(6000, 4000), 20, 0.0))
print(memory("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process from /proc")
def test_a_drawing_takes_no_more_memory_than_reading_twice(tmp_path: Path) -> None:
    shades = np.add.outer(np.arange(4000) // 8, np.arange(6000) // 8).astype(np.uint8)
    Image.fromarray(shades).convert("RGB").save(tmp_path / "photo.jpg")
    script = tmp_path / "measure.py"
    script.write_text(MEASURE)
    read, drawn = (
        int(
            subprocess.run(
                [sys.executable, str(script), what, str(tmp_path / "photo.jpg")],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.split()[-1]
        )
        for what in ("read", "draw")
    )
    assert drawn < 2 * read


def test_a_photo_that_is_drawn_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    graph = build_scene_graph(
        {"file_name": "a", "width": 120, "height": 90},
        ["cup", "table"],
        [[5, 5, 50, 60], [60, 20, 50, 60]],
        [(0, 1, "on")],
    )
    whole = draw_scene_graph(photo, graph)
    monkeypatch.setattr("reldn_d2.visualization.sheet._PART", 7000)
    assert np.array_equal(draw_scene_graph(photo, graph), whole)


@pytest.mark.parametrize(("width", "height"), [(6000, 300), (300, 6000)])
def test_text_fits_into_a_panorama(width: int, height: int) -> None:
    graph = build_scene_graph(
        {"file_name": "a", "width": width, "height": height},
        ["cup", "table"],
        [[0, 0, width / 3, height / 3], [width / 2, height / 2, width / 3, height / 3]],
        [(0, 1, "on")],
    )
    drawing = draw_scene_graph(np.full((height, width, 3), 128, np.uint8), graph)
    # No list below: every label has found its place.
    assert drawing.shape == (height, width, 3)
