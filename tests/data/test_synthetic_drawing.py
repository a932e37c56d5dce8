import logging
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.data import register_all
from reldn_d2.data.synthetic import dataset
from reldn_d2.data.synthetic.dataset import (
    BUILTIN_DATASETS,
    load_scenes,
    register_scenes,
    scene_folder,
)
from reldn_d2.data.synthetic.drawing import draw_scene
from reldn_d2.data.synthetic.geometry import Item, grip
from reldn_d2.data.synthetic.scene import Scene, make_scene
from reldn_d2.data.synthetic.vocabulary import IMAGE_SIZE, PREDICATE_CLASSES, THING_CLASSES, Category


def busy_and_free_targets(scene: Scene) -> tuple[list[Item], list[Item]]:
    targets = [scene.layout.items[row] for row in scene.layout.targets]
    busy = [i for i in scene.reached if i is not None]
    return [targets[i] for i in busy], [target for i, target in enumerate(targets) if i not in busy]


def test_picture_is_the_same_every_time() -> None:
    scene = make_scene("train", 0)
    image = draw_scene(scene)
    assert image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3) and image.dtype == np.uint8
    assert np.array_equal(image, draw_scene(scene))
    assert np.array_equal(image, draw_scene(make_scene("train", 0)))
    assert not np.array_equal(image, draw_scene(make_scene("train", 1)))


def test_every_entity_fills_its_box() -> None:
    """Inside each box the picture has several colours, and near every side there is an edge."""
    for index in range(10):
        scene = make_scene("test", index)
        image = draw_scene(scene).astype(float)
        for item in scene.layout.items:
            x0, y0, x1, y1 = (round(v) for v in item.box)
            crop = image[y0:y1, x0:x1].mean(axis=2)
            assert crop.std() > 8, item
            for side in (crop[:6], crop[-6:], crop[:, :6], crop[:, -6:]):
                assert np.ptp(side) > 25, item


def test_hands_are_at_the_busy_targets_only() -> None:
    """A hand is a disc of skin colour. The grip of a free cup or guitar has none."""
    for index in range(60):
        scene = make_scene("test", index)
        image = draw_scene(scene).astype(float)
        busy, free = busy_and_free_targets(scene)
        for target in busy + free:
            x, y = (round(v) for v in grip(target))
            blue, _, red = image[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(axis=0)
            is_skin = red - blue > 40
            assert is_skin == (target in busy), (index, target)


def test_only_arms_change_with_the_answer() -> None:
    """The same layout with the two answers swapped differs, and only inside the people-target region."""
    scene = next(
        s for s in (make_scene("train", i) for i in range(100)) if sorted(s.reached, key=str) == [0, 1]
    )
    swapped = Scene(scene.layout, scene.reached[::-1], scene.order, scene.relations, scene.style, scene.grain)
    changed = (draw_scene(scene) != draw_scene(swapped)).any(axis=2)
    assert 50 < changed.sum() < 0.2 * IMAGE_SIZE**2
    boxes = np.array([scene.layout.items[row].box for row in scene.layout.people + scene.layout.targets])
    ys, xs = np.nonzero(changed)
    assert xs.min() >= boxes[:, 0].min() - 1 and xs.max() <= boxes[:, 2].max() + 1
    assert ys.min() >= boxes[:, 1].min() - 1 and ys.max() <= boxes[:, 3].max() + 1


def test_cups_of_a_scene_look_alike() -> None:
    scene = next(
        s
        for s in (make_scene("train", i) for i in range(100))
        if len(busy_and_free_targets(s)[1]) >= 2
        and s.layout.items[s.layout.targets[0]].category == Category.CUP
        and not any(item.category == Category.BOX for item in s.layout.items)
    )
    image = draw_scene(scene).astype(float)
    colors = []
    for cup in busy_and_free_targets(scene)[1]:
        x, y = round(grip(cup)[0]), round(0.3 * cup.box[1] + 0.7 * cup.box[3])
        colors.append(image[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(axis=0))
    assert np.abs(np.diff(colors, axis=0)).max() < 12


def test_load_draws_missing_pictures_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        records = load_scenes("train", 3, tmp_path)
    folder = scene_folder("train", tmp_path)
    assert f"drawing 3 scenes into {folder}" in caplog.text
    assert [Path(r["file_name"]) for r in records] == [folder / f"{i:06d}.png" for i in range(3)]
    assert sorted(p.name for p in folder.iterdir()) == [f"{i:06d}.png" for i in range(3)]
    assert np.array_equal(cv2.imread(records[2]["file_name"]), draw_scene(make_scene("train", 2)))
    kept = Path(records[0]["file_name"])
    kept.write_bytes(b"kept")
    Path(records[1]["file_name"]).unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        load_scenes("train", 3, tmp_path)
    assert "drawing 1 scenes" in caplog.text and kept.read_bytes() == b"kept"
    assert Path(records[1]["file_name"]).exists()
    caplog.clear()
    load_scenes("train", 3, tmp_path)
    assert not caplog.records


def test_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(source: str, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(dataset.os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        load_scenes("train", 1, tmp_path)
    assert not list(scene_folder("train", tmp_path).iterdir())


def test_two_processes_may_draw_at_once(tmp_path: Path) -> None:
    with get_context("fork").Pool(2) as pool:
        first, second = pool.starmap(load_scenes, [("test", 12, tmp_path)] * 2)
    assert [r["file_name"] for r in first] == [r["file_name"] for r in second]
    for index, scene in enumerate(first):
        assert np.array_equal(cv2.imread(scene["file_name"]), draw_scene(make_scene("test", index)))
    assert len(list(scene_folder("test", tmp_path).iterdir())) == 12


def test_empty_and_bad_sizes(tmp_path: Path) -> None:
    assert load_scenes("train", 0, tmp_path) == []
    with pytest.raises(ValueError, match="negative"):
        load_scenes("train", -1, tmp_path)
    with pytest.raises(ValueError, match="unknown split"):
        load_scenes("val", 1, tmp_path)


def test_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "sets"))
    assert scene_folder("train") == tmp_path / "sets" / "reldn_d2_scenes" / "v1" / "train"
    assert scene_folder("train", tmp_path / "mine") == tmp_path / "mine" / "v1" / "train"
    monkeypatch.delenv("DETECTRON2_DATASETS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert scene_folder("test") == tmp_path / "cache" / "reldn_d2" / "scenes" / "v1" / "test"


def test_registration_is_lazy_and_idempotent(tmp_path: Path) -> None:
    name = "scenes_of_this_test"
    register_scenes(name, "train", 2, tmp_path)
    register_scenes(name, "train", 2, tmp_path)
    try:
        assert not list(tmp_path.iterdir())
        assert len(DatasetCatalog.get(name)) == 2
        metadata = MetadataCatalog.get(name)
        assert metadata.thing_classes == THING_CLASSES
        assert metadata.predicate_classes == PREDICATE_CLASSES
        assert metadata.evaluator_type == "relation"
        assert "train_dataset" not in metadata.as_dict()
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_builtin_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register_all()
    register_all()
    assert set(BUILTIN_DATASETS) <= set(DatasetCatalog.list())
    tiny = DatasetCatalog.get("reldn_scenes_tiny_test")
    assert len(tiny) == 8 and all(Path(scene["file_name"]).is_file() for scene in tiny)
