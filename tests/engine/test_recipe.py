"""The recipe that a training says it follows."""

import json
import re
from pathlib import Path

import pytest

from reldn_d2.engine import load_config, parts_of
from reldn_d2.engine.recipe import DIFFERENCES, METHOD, PROPOSALS, recipe_in_words
from tests.builders.tiny_models import REPOSITORY

SHORT = "MODEL.ROI_RELATION_HEAD."


def settings(name: str, *options: str) -> dict[str, str]:
    return parts_of(load_config(str(REPOSITORY / "configs" / f"{name}.yaml"), list(options))).settings()


@pytest.mark.parametrize("name", ["vrd/reldn_vgg16_coco", "vg/reldn_x101_fpn", "openimages/reldn_x101_fpn"])
def test_the_papers_configs_follow_the_published_code(name: str) -> None:
    assert recipe_in_words(settings(name)) == "the published code's"


def test_the_defaults_follow_the_paper() -> None:
    of_defaults = settings("vrd/reldn_vgg16_coco")
    for difference in DIFFERENCES:
        of_defaults[difference.key] = json.dumps(difference.paper)
    assert recipe_in_words(of_defaults) == "the paper's"


def test_settings_of_the_other_recipe_are_named() -> None:
    mixed = ["LOSS.NORMALIZATION", "anchors", "SAMPLING.POSITIVES_PER_IMAGE", "100"]
    options = [f"{SHORT}{x}" if "." in x else x for x in mixed]
    assert recipe_in_words(settings("vrd/reldn_vgg16_coco", *options)) == (
        "the published code's, but SAMPLING.POSITIVES_PER_IMAGE 100, LOSS.NORMALIZATION anchors"
    )
    words = recipe_in_words(settings("vrd/reldn_vgg16_coco", METHOD.key, "paper"))
    assert words.startswith("the paper's, but SAMPLING.BATCH_SIZE_PER_IMAGE 2048, ")
    assert len(words.split(", ")) == len(DIFFERENCES)


def test_proposals_of_other_numbers_are_named_where_they_count() -> None:
    """The published code draws its pairs from proposals, so their number is a part of its recipe."""
    options = ["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "128", "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", "False"]
    named = "ROI_HEADS.PROPOSAL_APPEND_GT False, ROI_HEADS.BATCH_SIZE_PER_IMAGE 128"
    assert recipe_in_words(settings("vrd/reldn_vgg16_coco", *options)) == f"the published code's, but {named}"
    assert "ROI_HEADS" not in recipe_in_words(settings("vrd/reldn_vgg16_coco", *options, METHOD.key, "paper"))
    # A config of our own, whose detector is trained with fewer proposals.
    assert recipe_in_words(settings("vrd/reldn_r50_fpn")) == (
        "the published code's, but RPN.POST_NMS_TOPK_TRAIN 1000"
    )


def test_the_page_names_the_proposals_of_the_published_code() -> None:
    page = (REPOSITORY / "docs" / "training_recipes.md").read_text()
    for key, value in PROPOSALS.items():
        number = f"{value:,}" if type(value) is int else str(value)
        assert re.search(rf"`{re.escape(key)}`[^`]*{re.escape(number)}", page), key


def test_the_page_lists_every_difference_with_its_values() -> None:
    page = (REPOSITORY / "docs" / "training_recipes.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    of_key = {row[3].partition("`: ")[0].strip("`"): row for row in rows[1:]}
    assert of_key.keys() == {x.key.removeprefix(SHORT) for x in DIFFERENCES}
    for difference in DIFFERENCES[1:]:
        _, paper, published, *_ = of_key[difference.key.removeprefix(SHORT)]
        for text, value in ((paper, difference.paper), (published, difference.published)):
            assert text.strip("`").startswith(str(value))


def test_the_default_config_has_the_papers_values(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("MODEL: {META_ARCHITECTURE: RelDN}\n")
    found = parts_of(load_config(str(tmp_path / "empty.yaml"), [])).settings()
    assert recipe_in_words(found) == "the paper's"
