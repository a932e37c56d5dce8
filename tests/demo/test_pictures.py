from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from reldn_d2.data.synthetic import confusable_cases
from reldn_d2.demo import pictures
from reldn_d2.demo.cases import Scene
from reldn_d2.demo.models import BASELINE, FULL
from reldn_d2.demo.pictures import case_pictures, write_scenes


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Real scenes. L0 is always wrong, all losses are always right."""
    found = []
    for dataset_dict in DatasetCatalog.get("reldn_scenes_tiny_test"):
        cases = confusable_cases(dataset_dict)
        base = {triplet: 0.5 for case in cases for triplet in (case.relation, *case.wrong)}
        right = {case.relation: 0.9 for case in cases}
        found.append(Scene(dataset_dict, cases, {BASELINE: base, FULL: base | right}))
    return found


def test_pictures_of_a_case_say_what_is_right(scenes: list[Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def draw(image: np.ndarray, graph: dict[str, list[dict[str, int]]], **options: object) -> np.ndarray:
        drawn.append(([(r["subject"], r["object"]) for r in graph["relationships"]], options))
        return image

    monkeypatch.setattr(pictures, "draw_scene_graph", draw)
    scene = next(scene for scene in scenes if scene.of_kind("proximity"))
    cases = scene.of_kind("proximity")
    titles = [title for _, title in case_pictures(scene, "proximity")]
    number = len(cases)
    assert titles == ["ground truth", f"L0: 0 of {number} right", f"L0+L1+L2+L3: {number} of {number} right"]
    (truth, first), (base, wrong), (full, right) = drawn
    assert truth == full == [case.relation[:2] for case in cases]
    assert all(pair in [x[:2] for x in case.wrong] for pair, case in zip(base, cases, strict=True))
    assert first["correct"] is None and wrong["correct"] == [False] * number
    assert right["correct"] == [True] * number
    # The alternatives are visible everywhere.
    ends = {end for case in cases for triplet in (case.relation, *case.wrong) for end in triplet[:2]}
    assert first["also"] == wrong["also"] == right["also"] == sorted(ends)


def test_the_picture_of_scenes_has_a_row_for_each_kind(scenes: list[Scene], tmp_path: Path) -> None:
    path = tmp_path / "new" / "scenes.jpg"
    write_scenes(scenes, path)
    both = cv2.imread(str(path))
    assert both is not None and both.shape[1] == 1500
    write_scenes([scene for scene in scenes if not scene.of_kind("instance")], path)
    one = cv2.imread(str(path))
    # The rows are equally high, but for lists below the pictures.
    assert one is not None and 1.6 * one.shape[0] < both.shape[0] < 2.4 * one.shape[0]


def test_without_a_case_there_is_no_picture(tmp_path: Path) -> None:
    write_scenes([], tmp_path / "scenes.jpg")
    assert not list(tmp_path.iterdir())
