"""The model card: what it says, and that names of other people are nothing but text in it."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from reldn_d2.engine import EvaluationInfo, ModelInfo, TrainingInfo
from reldn_d2.engine.pretrained.card import model_card
from reldn_d2.structures import Vocabulary
from tests.builders.hostile_names import HOSTILE, ORDINARY

NAMES = [*HOSTILE, *ORDINARY]
VOCABULARY = Vocabulary(["cup", "table"], ["on", "next to"])
INFO = ModelInfo(
    description="Cups on tables.",
    training=TrainingInfo("0.2.0", 100, ("my_train", "my_more"), 1234, 0),
    evaluations=(
        EvaluationInfo("my_test", "sgdet", "motifs", {"R@20": 1.0, "R@50": 12.345, "mR_all@50": 3.0}),
        EvaluationInfo("my_test", "prdcls", "own protocol", {"mine": 50.0}, ("2 of 9 images are missing.",)),
    ),
    license="mit",
    data_notice="Photos by Jörg.\nAll of them.",
)


def card(
    info: ModelInfo, vocabulary: Vocabulary = VOCABULARY, *, name: str | None = None, half: bool = False
) -> tuple[dict[str, Any], str]:
    """What stands between the lines of dashes, and the rest."""
    text = model_card(info, vocabulary, name=name, half_precision=half)
    empty, front, body = text.split("---\n", 2)
    assert not empty
    return yaml.safe_load(front), body


def tokens_of(body: str) -> Iterator[Any]:
    for token in MarkdownIt("gfm-like").parse(body):
        yield token
        yield from token.children or ()


def rows_of(body: str) -> list[list[str]]:
    return [[x.strip() for x in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"]


def test_a_card_says_what_is_known() -> None:
    front, body = card(replace(INFO, measured_before_rounding=True), name="jane/cups", half=True)
    assert front["license"] == "mit" and front["library_name"] == "reldn-d2" and "detectron2" in front["tags"]
    assert body.lstrip().startswith("# cups\n")
    rows = rows_of(body)
    for row in (
        ["my_test", "sgdet", "motifs", "R@50", "12.35"],
        ["my_test", "sgdet", "motifs", "mR_all@50", "3.00"],
        ["my_test", "prdcls", "own protocol", "mine", "50.00"],
        ["package", "reldn-d2 0.2.0"],
        ["training sets", "my_train, my_more"],
        ["training images", "1234"],
        ["iterations", "100"],
        ["seed", "0"],
    ):
        assert row in rows
    for words in (
        'reldn_d2.from_pretrained("jane/cups")',
        "reldn predict --weights jane/cups --input photo.jpg",
        "Photos by Jörg.\nAll of them.\n",
        "Cups on tables.",
        "2 of 9 images are missing.",
        "measured before the weights were rounded to half precision",
        "stored in float16",
        "Objects: cup, table",
        "Predicates: on, next to",
        "objects of 2\nclasses in a picture, and which of 2 predicates",
        "Licence of the weights: mit",
    ):
        assert words in body, words
    kinds = {token.type for token in tokens_of(body)}
    assert not kinds & {"html_inline", "html_block", "link_open"}


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    front, body = card(ModelInfo())
    assert "license" not in front
    for words in (
        "None are known.",
        "It is not known how this model was trained.",
        "Licence of the weights: unknown: ask the author",
        "Training data: unknown: ask the author",
        "stored in float32",
        'from_pretrained("FOLDER")',
    ):
        assert words in body, words
    assert "|" not in body and "half precision" not in body
    _, body = card(replace(INFO, training=TrainingInfo(iterations=7)))
    assert ["iterations", "7"] in rows_of(body) and "seed" not in body


@pytest.mark.parametrize(
    ("given", "front"),
    [
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("Mine: ask", {"license": "other", "license_name": "Mine: ask"}),
        ("x\nlicense: mit", {"license": "other", "license_name": r"x\nlicense: mit"}),
    ],
)
def test_licences_of_the_hub_and_others(given: str, front: dict[str, str]) -> None:
    found, _ = card(ModelInfo(license=given))
    assert {key: value for key, value in found.items() if key.startswith("license")} == front


def test_names_are_nothing_but_text() -> None:
    hostile = ModelInfo(
        description="\n".join(NAMES),
        training=TrainingInfo("<b>", 1, tuple(NAMES)),
        evaluations=tuple(EvaluationInfo(name, name, name, {name: 1.0}, (name,)) for name in NAMES),
        license=NAMES[0],
        data_notice="\n".join(["```", "# a", *NAMES]),
    )
    for license_name in HOSTILE:
        found, body = card(replace(hostile, license=license_name), Vocabulary(NAMES, NAMES))
        assert found["license"] == "other" and found.keys() == {
            *("library_name", "tags", "license", "license_name")
        }
    tokens = [*tokens_of(body)]
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_inline", "html_block", "image", "link_open", "em_open", "strong_open"}
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    assert headings == ["RelDN", "Use", "Numbers", "Training", "Classes", "Licence"]
    assert not [x for x in body if not x.isprintable() and x not in "\n\t\u200c\u200d"]
    assert body.encode()


def test_long_vocabularies_are_cut() -> None:
    _, body = card(ModelInfo(), Vocabulary([f"class{i}" for i in range(601)], ["on"]))
    assert "class199 and 401 more" in body and "class200" not in body
