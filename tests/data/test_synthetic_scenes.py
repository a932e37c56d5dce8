import hashlib
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from detectron2.structures import BoxMode
from hypothesis import given, settings
from hypothesis import strategies as st

from reldn_d2.data.synthetic.dataset import confusable_cases, scene_dict
from reldn_d2.data.synthetic.geometry import arm_paths, grip
from reldn_d2.data.synthetic.scene import ENTITIES, HAND_CLEARANCE, Draws, Layout, make_scene, sample_layout
from reldn_d2.data.synthetic.vocabulary import (
    GENERATOR_VERSION,
    IMAGE_SIZE,
    PREDICATE_CLASSES,
    SPLITS,
    THING_CLASSES,
    Category,
    Predicate,
)

SCENES = 400
indices = st.integers(0, 2**32 - 1)


def record(index: int, split: str = "train") -> dict[str, Any]:
    return scene_dict(make_scene(split, index), "picture.png", index)


def plain(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "relations": record["relations"].tolist()}


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return [record(i) for i in range(SCENES)]


def test_vocabulary_matches_the_numbers() -> None:
    assert THING_CLASSES == ["person", "cup", "guitar", "table", "hat", "box"]
    assert PREDICATE_CLASSES == ["at", "on", "holds", "plays", "wears", "inside of", "under"]


def test_golden_scene() -> None:
    golden = plain(record(0))
    text = json.dumps([golden["annotations"], golden["relations"]])
    assert GENERATOR_VERSION == 1
    assert golden["relations"] == [[2, 6, 3], [2, 0, 4], [3, 1, 3], [5, 4, 3]]
    assert [a["category_id"] for a in golden["annotations"]] == [4, 2, 0, 0, 2, 0, 2]
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "f3a0acd60fa47c08"


def test_scene_depends_on_every_argument_and_nothing_else() -> None:
    assert plain(record(3)) == plain(record(3))
    scenes = [
        make_scene("train", 3),
        make_scene("train", 4),
        make_scene("test", 3),
        make_scene("train", 3, seed=1),
    ]
    assert len({scene.layout for scene in scenes}) == 4


@pytest.mark.parametrize("arguments", [("val", 0), ("train", -1), ("train", 0, -1)])
def test_bad_arguments_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"unknown split|must not be negative"):
        make_scene(*arguments)


@settings(max_examples=60)
@given(indices, st.sampled_from(sorted(SPLITS)))
def test_any_scene_is_a_valid_record(index: int, split: str) -> None:
    scene = record(index, split)
    boxes = np.array([annotation["bbox"] for annotation in scene["annotations"]])
    assert scene["height"] == scene["width"] == IMAGE_SIZE and scene["image_id"] == index
    assert len(boxes) in ENTITIES
    assert boxes.min() >= 0 and boxes.max() <= IMAGE_SIZE
    assert (boxes[:, 2:] - boxes[:, :2] >= 14).all()
    for annotation in scene["annotations"]:
        assert annotation["bbox_mode"] == BoxMode.XYXY_ABS and annotation["iscrowd"] == 0
        assert annotation["category_id"] in range(len(THING_CLASSES))
    relations = scene["relations"]
    assert relations.dtype == np.int64 and relations.shape[1] == 3
    assert (relations >= 0).all() and (relations[:, :2] < len(boxes)).all()
    assert (relations[:, 2] < len(PREDICATE_CLASSES)).all()
    assert (relations[:, 0] != relations[:, 1]).all()
    assert len(np.unique(relations[:, :2], axis=0)) == len(relations)


def test_predicates_join_the_classes_they_should(records: list[dict[str, Any]]) -> None:
    seen = {
        (THING_CLASSES[classes[s]], PREDICATE_CLASSES[p], THING_CLASSES[classes[o]])
        for scene in records
        for classes in [[annotation["category_id"] for annotation in scene["annotations"]]]
        for s, o, p in scene["relations"]
    }
    assert seen == {
        ("person", "at", "table"),
        ("person", "wears", "hat"),
        ("person", "holds", "cup"),
        ("person", "plays", "guitar"),
        ("cup", "on", "table"),
        ("cup", "on", "box"),
        ("cup", "inside of", "box"),
        ("box", "on", "table"),
        ("box", "under", "table"),
    }


def test_predicates_are_imbalanced_and_all_there(records: list[dict[str, Any]]) -> None:
    counts = Counter(int(p) for scene in records for p in scene["relations"][:, 2])
    share = {p: counts[p] / sum(counts.values()) for p in Predicate}
    assert share[Predicate.ON] == max(share.values()) > 0.25
    assert all(share[p] > 0.1 for p in (Predicate.AT, Predicate.HOLDS, Predicate.PLAYS, Predicate.WEARS))
    assert all(0.01 < share[p] < 0.05 for p in (Predicate.INSIDE_OF, Predicate.UNDER))


def test_layout_is_drawn_without_knowing_the_answer() -> None:
    for index in range(50):
        root = np.random.SeedSequence([GENERATOR_VERSION, SPLITS["train"], 0, index])
        assert make_scene("train", index).layout == sample_layout(Draws(root.spawn(1)[0]))


def test_answers_are_uniform_over_assignments() -> None:
    """Three musicians with three guitars: the six assignments are equally frequent (chi square, 5 d.o.f.)."""
    scenes = [make_scene("train", i) for i in range(1500)]
    counts = Counter(
        scene.reached
        for scene in scenes
        if scene.layout.reach == Predicate.PLAYS and len(scene.layout.people) == 3
    )
    expected = sum(counts.values()) / 6
    assert len(counts) == 6 and expected > 30
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 20.5  # 0.1 % level


def test_annotation_order_is_shuffled(records: list[dict[str, Any]]) -> None:
    """The position in the list is independent of the class: every class is sometimes first and last."""
    for end in (0, -1):
        first = Counter(scene["annotations"][end]["category_id"] for scene in records)
        assert len(first) == len(THING_CLASSES)
        relation = Counter(int(scene["relations"][end, 2]) for scene in records)
        assert len(relation) == len(PREDICATE_CLASSES)


@settings(max_examples=40)
@given(indices)
def test_clue_of_every_candidate_is_visible_and_in_the_enclosing_box(index: int) -> None:
    layout: Layout = make_scene("train", index).layout
    people = [layout.items[row] for row in layout.people]
    targets = [layout.items[row] for row in layout.targets]
    paths = arm_paths(people, targets)
    for i, person in enumerate(people):
        for j, target in enumerate(targets):
            low, high = np.minimum(person.box, target.box)[:2], np.maximum(person.box, target.box)[2:]
            assert (paths[i, j] >= low).all() and (paths[i, j] <= high).all()
            assert np.allclose(paths[i, j, -1], grip(target))
            for k, other in enumerate(targets):
                x, y = grip(other)
                assert k == j or np.hypot(*(paths[i, j] - (x, y)).T).min() > HAND_CLEARANCE
                assert (target.box[0] < x < target.box[2] and target.box[1] < y < target.box[3]) == (k == j)


def test_people_hold_or_play_one_thing_each_and_nobody_shares(records: list[dict[str, Any]]) -> None:
    free = 0
    for scene in records:
        classes = np.array([annotation["category_id"] for annotation in scene["annotations"]])
        relations = scene["relations"]
        for predicate in (Predicate.HOLDS, Predicate.PLAYS):
            ends = relations[relations[:, 2] == predicate]
            assert len(set(ends[:, 0])) == len(set(ends[:, 1])) == len(ends)
        plays = int((relations[:, 2] == Predicate.PLAYS).sum())
        assert plays in (0, int((classes == Category.PERSON).sum()))
        free += not np.isin(relations[:, 2], [Predicate.HOLDS, Predicate.PLAYS]).any()
    assert 0 < free < 0.2 * SCENES  # sometimes nobody holds anything


def test_confusable_cases_of_a_small_scene() -> None:
    person, cup, guitar = ({"category_id": int(c)} for c in (Category.PERSON, Category.CUP, Category.GUITAR))
    holds, plays = int(Predicate.HOLDS), int(Predicate.PLAYS)
    table = {"annotations": [cup, person, cup, person, cup], "relations": [(1, 2, holds)]}
    (case,) = confusable_cases(table)
    assert (case.kind, case.relation, case.chance) == ("instance", (1, 2, holds), pytest.approx(1 / 3))
    assert case.wrong == ((1, 0, holds), (1, 4, holds))
    score = {(1, 0, holds): 0.2, (1, 2, holds): 0.3, (1, 4, holds): 0.1}
    assert case.is_solved(score)
    assert not case.is_solved({**score, (1, 4, holds): 0.3})  # a tie does not solve the case
    band = {
        "annotations": [person, guitar, person, guitar],
        "relations": np.array([(0, 3, plays), (2, 1, plays)]),
    }
    cases = confusable_cases(band)
    assert [(c.kind, c.relation, c.chance) for c in cases] == [
        ("proximity", (0, 3, plays), pytest.approx(1 / 3)),
        ("proximity", (2, 1, plays), pytest.approx(1 / 3)),
    ]
    assert set(cases[0].wrong) == {(0, 1, plays), (2, 3, plays)}
    assert confusable_cases({"annotations": [], "relations": np.zeros((0, 3), dtype=np.int64)}) == []


def test_every_confusable_case_has_a_rival(records: list[dict[str, Any]]) -> None:
    for scene in records:
        for case in confusable_cases(scene):
            assert case.relation not in case.wrong
            assert 1 / 7 <= case.chance <= 1 / 2


def test_spaced_positions_and_permutations() -> None:
    draws = Draws(np.random.SeedSequence(5))
    assert draws.spaced(3, 0, 10, 6) is None
    for _ in range(100):
        positions = draws.spaced(4, 10, 60, 12)
        assert positions is not None and positions[0] >= 10 and positions[-1] <= 60
        assert (np.diff(positions) >= 12 - 1e-9).all()
        assert sorted(draws.permutation(7)) == list(range(7))
        assert draws.integer(2, 4) in (2, 3, 4)
    assert draws.permutation(0) == []
