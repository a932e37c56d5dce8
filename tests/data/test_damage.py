"""Each kind of damage in each format is refused with its name, counted, or found by the checker."""

import logging
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reldn_d2.data import RelationDatasetMapper, prepare_training_relations
from reldn_d2.data.checking.checks import check_dataset, check_pictures
from tests.builders.dataset_formats.damage import Counted, Damage, Format, Loads, Refused

NAMES = (
    *("vg150", "visual_genome_raw", "openimages_vrd", "vrd", "authors_json", "coco_relations"),
    "label_studio",
)
FORMATS: list[Format] = [import_module(f"tests.builders.dataset_formats.{name}").FORMAT for name in NAMES]
CASES = [
    pytest.param(one, damage, id=f"{one.name}-{damage.name}") for one in FORMATS for damage in one.outcomes
]
LOADING = [
    pytest.param(one, damage, id=f"{one.name}-{damage.name}")
    for one in FORMATS
    for damage, outcome in one.outcomes.items()
    if not isinstance(outcome, Refused)
]
# Damage that is refused only when training reads the picture, and the error.
NO_PICTURE = {
    Damage.UNREADABLE_IMAGE: (ValueError, r"cannot be read.*take the image out of the annotations"),
    Damage.MISSING_IMAGE: (FileNotFoundError, r"does not exist.*check the image folder"),
}
# Problem -> problems that come with it: a single box can't have a relationship between two.
IMPLIED = {"one_box": {"no_relation", "self_relation"}}


def problems(one: Format, dataset_dicts: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Kind -> records, for the problems of annotations and pictures."""
    found = check_dataset(dataset_dicts, one.num_classes, one.num_predicates)
    every = [*found.problems, *check_pictures(found.arrays, "decode")]
    return {problem.kind: [str(record) for record in problem.records] for problem in every}


@pytest.mark.parametrize(("one", "damage"), CASES)
def test_damage_has_the_outcome_that_the_format_promises(
    one: Format, damage: Damage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one.write(tmp_path, damage)
    outcome = one.outcomes[damage]
    if isinstance(outcome, Refused):
        with pytest.raises((ValueError, FileNotFoundError)) as raised:
            one.load(tmp_path)
        assert re.search(outcome.pattern, str(raised.value))
        return
    level = logging.INFO if isinstance(outcome, Counted) else logging.WARNING
    with caplog.at_level(level, logger="reldn_d2"):
        dataset_dicts = one.load(tmp_path)
    if isinstance(outcome, Counted):
        assert any(re.search(outcome.pattern, message) for message in caplog.messages), caplog.text
        if damage is Damage.BOX_OUTSIDE:
            assert problems(one, dataset_dicts).keys() == {"box_changed"}
        return
    assert caplog.messages == []
    found = problems(one, dataset_dicts)
    expected = set() if outcome.problem is None else {outcome.problem}
    assert expected <= found.keys() <= expected | IMPLIED.get(str(outcome.problem), set())


@pytest.mark.parametrize(("one", "damage"), LOADING)
def test_data_that_load_can_be_trained_on_or_are_refused(one: Format, damage: Damage, tmp_path: Path) -> None:
    one.write(tmp_path, damage)
    mapper = RelationDatasetMapper(True, augmentations=[], image_format="BGR")
    kept = prepare_training_relations(one.load(tmp_path), one.name)
    assert len(kept) >= 2
    for position, dataset_dict in enumerate(kept):
        # if the loader kept all images, the first one has the damaged picture
        if damage in NO_PICTURE and len(kept) == 3 and position == 0:
            error, text = NO_PICTURE[damage]
            with pytest.raises(error, match=rf"Image {re.escape(dataset_dict['file_name'])} {text}"):
                mapper(dataset_dict)
        else:
            example = mapper(dataset_dict)
            ends = example["relations"][:, :2]
            assert len(ends)
            assert ((ends >= 0) & (ends < len(example["instances"]))).all()


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_an_undamaged_set_is_three_images_with_pictures(one: Format, tmp_path: Path) -> None:
    assert one.outcomes[Damage.NONE] == Loads(None)
    one.write(tmp_path, Damage.NONE)
    dataset_dicts = one.load(tmp_path)
    assert len(dataset_dicts) == 3
    for dataset_dict in dataset_dicts:
        assert len(dataset_dict["annotations"]) >= 2 and len(dataset_dict["relations"])
        with Image.open(dataset_dict["file_name"]) as picture:
            assert picture.size == (dataset_dict["width"], dataset_dict["height"])


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_every_kind_of_damage_has_an_outcome(one: Format) -> None:
    # a list of relationships describes its entities itself, so no id is missing
    impossible = {Damage.DANGLING_ID}
    assert {*Damage} - {*one.outcomes} <= impossible
