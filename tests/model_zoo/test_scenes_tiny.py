"""The model that travels in the wheel: complete, small, right about its sample, without a network."""

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.data.synthetic import draw_scene, make_scene, scene_dict
from reldn_d2.engine import RelationPredictor, load_config
from reldn_d2.engine.pretrained import find, find_pretrained
from reldn_d2.model_zoo import get_config_file, zoo_entry
from tests.builders.commands import run_reldn
from tools.make_scenes_tiny import SAMPLE, TEST

ENTRY = zoo_entry("scenes-tiny")
PICTURE = ENTRY.folder / "sample.png"
# What the wheel may take for it.
MOST_BYTES = 8_000_000


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def annotated() -> dict[str, Any]:
    """The dataset dict of the sample."""
    return scene_dict(make_scene("test", SAMPLE), str(PICTURE), SAMPLE)


def annotated_triplets() -> set[tuple[str, str, str]]:
    """Names of the relationships of the sample."""
    names, scene = MetadataCatalog.get(TEST), annotated()
    things = [names.thing_classes[x["category_id"]] for x in scene["annotations"]]
    return {(things[s], names.predicate_classes[p], things[o]) for s, o, p in scene["relations"]}


def test_its_files_are_complete_and_small() -> None:
    assert find_pretrained("scenes-tiny").path == ENTRY.folder
    names = {
        "model.safetensors",
        "config.yaml",
        "model.json",
        "README.md",
        "SHA256SUMS",
        "NOTICE",
        "sample.png",
    }
    assert {file.name for file in ENTRY.folder.iterdir()} == names
    assert sum(file.stat().st_size for file in ENTRY.folder.iterdir()) <= MOST_BYTES


def test_its_digest_is_compared_and_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_pretrained("scenes-tiny", sha256=ENTRY.sha256).sha256 == ENTRY.sha256
    # As if a file of the installed package, and its digest beside it, had been changed.
    monkeypatch.setattr(find, "zoo_entry", lambda _: replace(ENTRY, sha256="0" * 64))
    with pytest.raises(ValueError, match=f"scenes-tiny is not the expected model: .*, not {'0' * 64}"):
        find_pretrained("scenes-tiny")


def test_its_card_has_its_name() -> None:
    card = (ENTRY.folder / "README.md").read_text()
    assert "# scenes-tiny\n" in card and 'from_pretrained("scenes-tiny")' in card
    assert "measured before the weights were rounded to half precision" in card


def test_its_config_is_the_one_that_anybody_can_train() -> None:
    saved = load_config(str(ENTRY.folder / "config.yaml")).MODEL
    trained = load_config(get_config_file(ENTRY.config)).MODEL
    for model in (saved, trained):
        model.WEIGHTS = model.DEVICE = ""
        model.ROI_RELATION_HEAD.TEST.CHUNK_SIZE = 0  # it changes no answer
    assert json.dumps(saved) == json.dumps(trained)


def test_the_sample_is_a_test_scene() -> None:
    """Another version of OpenCV may draw edges a little differently."""
    drawn = draw_scene(make_scene("test", SAMPLE))
    difference = np.abs(cv2.imread(str(PICTURE)).astype(int) - drawn.astype(int))
    assert difference.mean() < 1


def test_it_finds_the_relationships_of_the_sample(scenes_tiny: RelationPredictor) -> None:
    wanted = annotated_triplets()
    assert ("person", "holds", "cup") in wanted
    prediction = scenes_tiny(PICTURE)
    best = prediction.relationships[: len(annotated()["relations"])]
    assert {(x.subject.name, x.predicate, x.object.name) for x in best} == wanted


def test_given_boxes_it_tells_who_holds_what(scenes_tiny: RelationPredictor) -> None:
    scene = annotated()
    prediction = scenes_tiny(
        PICTURE,
        boxes=[x["bbox"] for x in scene["annotations"]],
        classes=[x["category_id"] for x in scene["annotations"]],
    )
    found = [
        (x.subject.index, x.object.index, x.predicate_index)
        for x in prediction.relationships[: len(scene["relations"])]
    ]
    assert set(found) == {(int(s), int(o), int(p)) for s, o, p in scene["relations"]}


def test_the_command_finds_them_too(tmp_path: Path) -> None:
    """`reldn predict --weights scenes-tiny`."""
    output = tmp_path / "predictions"
    assert run_reldn("predict", "--weights", "scenes-tiny", "--input", PICTURE, "--output", output) == 0
    graph = json.loads((output / "sample.json").read_text())
    names = [entity["class"] for entity in graph["entities"]]
    found = [(names[x["subject"]], x["predicate"], names[x["object"]]) for x in graph["relationships"]]
    assert set(found[: len(annotated()["relations"])]) == annotated_triplets()


def test_it_is_right_in_other_scenes(scenes_tiny: RelationPredictor) -> None:
    """Most annotated relationships of the first scenes are among as many best ones (by their names)."""
    names = MetadataCatalog.get("reldn_scenes_tiny_test")
    right = number = 0
    for scene in DatasetCatalog.get("reldn_scenes_tiny_test"):
        things = [names.thing_classes[x["category_id"]] for x in scene["annotations"]]
        wanted = [(things[s], names.predicate_classes[p], things[o]) for s, o, p in scene["relations"]]
        best = scenes_tiny(scene["file_name"]).relationships[: len(wanted)]
        found = [(x.subject.name, x.predicate, x.object.name) for x in best]
        number += len(wanted)
        right += sum(min(wanted.count(triplet), found.count(triplet)) for triplet in set(wanted))
    assert right / number > 0.9
