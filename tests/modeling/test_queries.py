"""Answers to queries, against the ranked list and slow definitions."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import given, settings
from hypothesis import strategies as st

from reldn_d2.modeling import RelDN
from reldn_d2.modeling.queries import TranslatedQueries
from reldn_d2.structures import Queries
from tests.builders.tiny_models import TinyConfig, make_input, make_model

HEAD = "MODEL.ROI_RELATION_HEAD"
NUM_PREDICATES = 7
Rows = list[tuple[int, int, int]]
Box = tuple[float, float, float, float]


def every_triplet(num_entities: int, num_predicates: int = NUM_PREDICATES) -> Rows:
    return list(itertools.product(range(num_entities), range(num_entities), range(num_predicates)))


def about(rows: Rows, pairs: list[tuple[int, int]] | None = None) -> Queries:
    return Queries.from_rows(pairs=pairs or [], triplets=rows)


def annotated(boxes: list[Box], classes: list[int]) -> Instances:
    truth = Instances((96, 96))
    truth.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    truth.gt_classes = torch.tensor(classes, dtype=torch.long)
    return truth


def detected(boxes: list[Box], classes: list[int], scores: list[float] | None = None) -> Instances:
    found = Instances((96, 96))
    found.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    found.pred_classes = torch.tensor(classes, dtype=torch.long)
    found.scores = torch.tensor(scores if scores is not None else [0.5] * len(classes))
    return found


def asking(num_entities: int, rows: Rows, **options: int) -> dict[str, Any]:
    return {**make_input(num_entities, [], **options), "queries": about(rows)}


def listed_scores(output: dict[str, Instances]) -> dict[tuple[int, int, int], float]:
    """Score of every triplet of the ranked list, between the model's entities."""
    found = output["relations"]
    columns = (found.subject_index, found.object_index, found.pred_predicates)
    keys = zip(*(x.tolist() for x in columns), strict=True)
    return dict(zip(keys, found.scores.tolist(), strict=True))


def answered_rows(output: dict[str, Instances]) -> Rows:
    found = output["triplet_answers"]
    columns = (found.subject_index, found.object_index, found.pred_predicates)
    return list(zip(*(x.tolist() for x in columns), strict=True))


def complete_list(tiny_config: TinyConfig, task: str, *options: str) -> RelDN:
    """A model whose ranked list has every triplet, with probabilities that are neither 0 nor 1."""
    cfg = tiny_config(f"{HEAD}.TEST.TOP_K", "10000", f"{HEAD}.TEST.TASK", task, *options)
    model = make_model(cfg).eval()
    visual = model.relation_head.pair_classifier.visual
    with torch.no_grad():
        for layer in (visual.score[-1], visual.subject_skip, visual.object_skip):
            layer.weight.mul_(0.02)
    return model


# --- assignment of detections to annotated entities


def slow_iou(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b))
    common = width * height
    return common / (areas - common) if common else 0.0


def slow_detection(box: Box, label: int, boxes: list[Box], labels: list[int]) -> int | None:
    """Row of the first detection of the class with the best IoU; None if that is below 0.5."""
    best, best_row = 0.0, None
    for row, (other, other_label) in enumerate(zip(boxes, labels, strict=True)):
        iou = slow_iou(box, other)
        if other_label == label and iou > best:
            best, best_row = iou, row
    return best_row if best >= 0.5 else None


low, high = st.integers(0, 3), st.integers(4, 8)
entities = st.lists(st.tuples(st.tuples(low, low, high, high), st.integers(0, 1)), max_size=5)


@settings(max_examples=300)
@given(entities, entities)
def test_entities_are_assigned_as_the_definition_says(truth: list, found: list) -> None:
    boxes, labels = [box for box, _ in found], [label for _, label in found]
    rows = [slow_detection(box, label, boxes, labels) for box, label in truth]
    triplets = every_triplet(len(truth), 1)
    translated = TranslatedQueries.to_detections(
        about(triplets),
        annotated([box for box, _ in truth], [label for _, label in truth]),
        detected(boxes, labels),
    )
    pairs = [(rows[s], rows[o], p) for s, o, p in triplets]
    expected = [None not in pair and pair[0] != pair[1] for pair in pairs]
    assert translated.detected.tolist() == expected
    assert translated.for_head().triplets.tolist() == [
        list(pair) for pair, d in zip(pairs, expected, strict=True) if d
    ]


SQUARE: Box = (0.0, 0.0, 10.0, 10.0)
HALF: Box = (0.0, 0.0, 10.0, 5.0)
LESS: Box = (0.0, 0.0, 10.0, 4.99)
FAR: Box = (50.0, 50.0, 60.0, 60.0)


@pytest.mark.parametrize(
    ("boxes", "classes", "row"),
    [
        ([HALF], [0], 0),  # exactly 0.5 is enough
        ([LESS], [0], None),
        ([SQUARE], [1], None),  # another class
        ([SQUARE, HALF], [1, 0], 1),  # a better detection of another class is ignored
        ([HALF, SQUARE], [0, 0], 1),  # the best, not the first
        ([HALF, SQUARE, SQUARE], [0, 0, 0], 1),  # the first among equals
        ([], [], None),
    ],
)
def test_one_entity_gets_the_best_detection_of_its_class(
    boxes: list[Box], classes: list[int], row: int | None
) -> None:
    truth = annotated([SQUARE, FAR], [0, 1])
    found = detected([*boxes, FAR], [*classes, 1])
    translated = TranslatedQueries.to_detections(about([(0, 1, 3), (1, 0, 2)]), truth, found)
    far = len(boxes)
    assert translated.detected.tolist() == [row is not None] * 2
    assert translated.for_head().triplets.tolist() == ([] if row is None else [[row, far, 3], [far, row, 2]])


def test_two_entities_with_one_detection_are_not_a_detected_pair() -> None:
    truth = annotated([SQUARE, SQUARE, FAR], [0, 0, 1])
    found = detected([SQUARE, FAR], [0, 1])
    translated = TranslatedQueries.to_detections(about([(0, 1, 0), (0, 2, 0), (1, 2, 0)]), truth, found)
    assert translated.detected.tolist() == [False, True, True]
    assert translated.for_head().triplets.tolist() == [[0, 1, 0], [0, 1, 0]]


# --- scores


@pytest.mark.parametrize("task", ["prdcls", "sgcls"])
def test_scores_between_given_entities_are_those_of_the_ranked_list(
    tiny_config: TinyConfig, task: str
) -> None:
    model = complete_list(tiny_config, task)
    rows = [*every_triplet(5)[::-1], (0, 1, 2)]  # any order, with a repeat
    inputs = asking(5, rows)
    for model.relation_head.chunk_size in (2, 256):
        output = model([inputs])[0]
        listed = listed_scores(output)
        assert answered_rows(output) == rows
        answers = output["triplet_answers"]
        assert answers.scores.dtype == torch.float32 and answers.detected.dtype == torch.bool
        assert answers.detected.tolist() == [s != o for s, o, _ in rows]
        expected = [listed.get(row, 0.0) for row in rows]
        assert len(listed) == 5 * 4 * NUM_PREDICATES and min(listed.values()) > 0
        torch.testing.assert_close(answers.scores, torch.tensor(expected), rtol=1e-5, atol=1e-7)


def test_the_ranked_list_is_the_same_with_and_without_queries(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config(f"{HEAD}.TEST.TASK", "prdcls")).eval()
    inputs = make_input(5, [(0, 1, 2), (3, 3, 1)])
    pairs = {**inputs, "queries": about([], [(0, 1), (3, 3)])}
    both = {**inputs, "queries": about([(1, 0, 0), (4, 2, 6)], [(0, 1), (3, 3)])}
    nothing, some, everything = (model([x])[0] for x in (inputs, pairs, both))
    assert set(nothing) == {"instances", "relations", "task"}
    assert set(some) == set(everything) == {*nothing, "pair_answers", "triplet_answers"}
    assert len(some["triplet_answers"]) == 0
    for key, values in nothing["relations"].get_fields().items():
        assert torch.equal(some["relations"].get(key), values), key
        assert torch.equal(everything["relations"].get(key), values), key
    for key, values in some["pair_answers"].get_fields().items():
        assert torch.equal(everything["pair_answers"].get(key), values), key


@pytest.mark.parametrize("task", ["prdcls", "sgcls"])
def test_pairs_between_given_entities_are_answered_row_by_row(tiny_config: TinyConfig, task: str) -> None:
    """Repeats and self pairs are answered, and the overlap filter excludes none."""
    model = complete_list(tiny_config, task, f"{HEAD}.OVERLAP_ONLY", "True")
    rows = [(3, 1), (2, 2), (0, 4), (3, 1)]
    for model.relation_head.chunk_size in (1, 256):
        (output,) = model([{**make_input(5, []), "queries": about([], rows)}])
        answers, listed = output["pair_answers"], listed_scores(output)
        assert list(zip(answers.subject_index.tolist(), answers.object_index.tolist(), strict=True)) == rows
        assert answers.predicate_probs.shape == (4, NUM_PREDICATES)
        scores = answers.pair_scores[:, None] * answers.predicate_probs
        for row, pair in enumerate(rows):
            if pair[0] != pair[1]:
                expected = [listed[(*pair, p)] for p in range(NUM_PREDICATES)]
                torch.testing.assert_close(scores[row], torch.tensor(expected), rtol=1e-5, atol=1e-7)


def test_pairs_are_not_answered_in_sgdet(tiny_config: TinyConfig) -> None:
    model = complete_list(tiny_config, "sgdet")
    inputs = sgdet_input([(0, 1, 2)])
    inputs["queries"] = about([(0, 1, 2)], [(0, 1)])
    (output,) = model([inputs])
    assert set(output) == {"instances", "relations", "triplet_answers", "task"}


def test_each_pair_is_scored_once(tiny_config: TinyConfig) -> None:
    model = complete_list(tiny_config, "prdcls")
    asked: list[tuple[int, int]] = []
    model.relation_head.pair_classifier.register_forward_hook(
        lambda _, args, __: asked.extend(zip(args[3].subject.tolist(), args[3].object.tolist(), strict=True))
    )
    model([asking(5, [])])
    listed = list(asked)
    asked.clear()
    rows = [(0, 1, 2), (0, 1, 5), (1, 0, 2), (0, 3, 1), (0, 1, 0), (2, 2, 1)]
    model([asking(5, rows)])
    assert sorted(asked[len(listed) :]) == [(0, 1), (0, 3), (1, 0)]


def test_triplets_are_scored_in_chunks(tiny_config: TinyConfig) -> None:
    model = complete_list(tiny_config, "prdcls", f"{HEAD}.TEST.CHUNK_SIZE", "4")
    sizes: list[int] = []
    model.relation_head.pair_classifier.register_forward_hook(lambda _, args, __: sizes.append(len(args[3])))
    model([asking(5, every_triplet(5))])
    assert sizes[-5:] == [4] * 5 and max(sizes) <= 2 * 4


def test_a_probability_above_one_by_rounding_is_clamped(
    tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = complete_list(tiny_config, "prdcls")
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    monkeypatch.setattr(
        model.relation_head,
        "_probabilities",
        lambda maps, batch, terms, pairs: torch.full((len(pairs), NUM_PREDICATES), above),
    )
    assert model([asking(3, [(0, 1, 2)])])[0]["triplet_answers"].scores.tolist() == [1.0]


# Four annotated entities: the first two have a detection each, the last two share one.
BOXES: list[Box] = [(5, 5, 30, 30), (20, 20, 50, 50), (60, 60, 90, 90), (60, 60, 90, 88)]
CLASSES = [0, 1, 2, 2]


def sgdet_input(rows: Rows) -> dict[str, Any]:
    inputs = asking(0, rows)
    inputs["instances"] = annotated(BOXES, CLASSES)
    boxes: list[Box] = [(58, 58, 90, 90), (4, 6, 30, 31), (21, 20, 50, 51), (5, 5, 30, 30)]
    inputs["detections"] = detected(boxes, [2, 0, 1, 5], [0.9, 0.8, 0.7, 0.6])
    return inputs


DETECTIONS_OF = {0: 1, 1: 2, 2: 0, 3: 0}


def test_sgdet_scores_are_those_of_the_assigned_detections(tiny_config: TinyConfig) -> None:
    model = complete_list(tiny_config, "sgdet")
    rows = every_triplet(4)
    output = model([sgdet_input(rows)])[0]
    assert answered_rows(output) == rows
    answers = output["triplet_answers"]
    listed = listed_scores(output)
    assert len(listed) == 4 * 3 * NUM_PREDICATES
    for (s, o, p), score, found in zip(rows, answers.scores.tolist(), answers.detected.tolist(), strict=True):
        ends = DETECTIONS_OF[s], DETECTIONS_OF[o]
        assert found == (ends[0] != ends[1])
        assert score == (pytest.approx(listed[(*ends, p)], rel=1e-5) if found else 0.0)
    assert sum(answers.detected.tolist()) == 10 * NUM_PREDICATES


def test_pairs_that_the_overlap_filter_leaves_out_are_not_detected_in_sgdet_alone(
    tiny_config: TinyConfig,
) -> None:
    model = complete_list(tiny_config, "sgdet", f"{HEAD}.OVERLAP_ONLY", "True")
    rows = [(0, 2, 3), (0, 1, 5), (1, 3, 0), (1, 0, 4), (2, 3, 3)]
    inputs = sgdet_input(rows)
    output = model([inputs])[0]
    answers, listed = output["triplet_answers"], listed_scores(output)
    assert answers.detected.tolist() == [False, True, False, True, False]
    assert {ends[:2] for ends in listed} == {(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)}
    expected = [0.0, listed[1, 2, 5], 0.0, listed[2, 1, 4], 0.0]
    assert answers.scores.tolist() == pytest.approx(expected, rel=1e-5)
    model.task = "prdcls"
    answers = model([inputs])[0]["triplet_answers"]
    assert answers.detected.all() and (answers.scores > 0).all()


def test_the_detector_answers_too(tiny_config: TinyConfig) -> None:
    """No detections are given. The annotation is made of what it finds, so nothing is missed."""
    model = complete_list(tiny_config, "sgdet", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0")
    inputs = asking(0, [])
    found = model.inference([inputs], do_postprocess=False)[0]["instances"][:4]
    inputs["instances"] = annotated(found.pred_boxes.tensor.tolist(), found.pred_classes.tolist())
    inputs["queries"] = about([row for row in every_triplet(4) if row[0] != row[1]])
    output = model([inputs])[0]
    assert output["triplet_answers"].detected.all()
    listed = listed_scores(output)
    expected = [listed[row] for row in answered_rows(output)]
    assert output["triplet_answers"].scores.tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("task", ["prdcls", "sgcls", "sgdet"])
def test_a_batch_answers_image_by_image(tiny_config: TinyConfig, task: str) -> None:
    model = complete_list(tiny_config, task)
    if task == "sgdet":
        second = asking(2, [(0, 1, 3), (1, 0, 3)], seed=3)
        second["detections"] = detected(second["instances"].gt_boxes.tensor.tolist(), [0, 1])
        second["instances"].gt_classes = torch.tensor([0, 1])
        batch = [sgdet_input([(0, 1, 2), (2, 0, 1), (2, 3, 1)]), second, sgdet_input([])]
    else:
        batch = [asking(4, [(0, 1, 2), (3, 0, 1)]), asking(3, [(2, 1, 0)], seed=3), asking(0, [], seed=4)]
    together = model(batch)
    for inputs, output in zip(batch, together, strict=True):
        (alone,) = model([inputs])
        assert answered_rows(output) == [tuple(row) for row in inputs["queries"].triplets.tolist()]
        assert output["triplet_answers"].detected.tolist() == alone["triplet_answers"].detected.tolist()
        torch.testing.assert_close(
            output["triplet_answers"].scores, alone["triplet_answers"].scores, rtol=1e-4, atol=1e-6
        )
    assert together[1]["triplet_answers"].scores.min() > 0


@pytest.mark.parametrize("task", ["prdcls", "sgcls", "sgdet"])
@pytest.mark.parametrize("count", [0, 3])
def test_no_queries_and_no_detections_work(tiny_config: TinyConfig, task: str, count: int) -> None:
    model = complete_list(tiny_config, task)
    inputs = asking(count, [(0, 1, 2), (2, 1, 0)] if count else [])
    inputs["detections"] = detected([], [])
    answers = model([inputs])[0]["triplet_answers"]
    assert len(answers) == (2 if count else 0) and answers.detected.dtype == torch.bool
    if task == "sgdet":
        assert not answers.detected.any() and answers.scores.tolist() == [0.0] * len(answers)
    else:
        assert answers.detected.all()


def test_postprocessing_moves_no_row(tiny_config: TinyConfig) -> None:
    model = complete_list(tiny_config, "sgdet")
    inputs = sgdet_input([(0, 1, 2), (2, 3, 1), (1, 2, 6)])
    inputs["height"], inputs["width"] = 40, 300
    raw = model.inference([inputs], do_postprocess=False)[0]["triplet_answers"]
    answers = model([inputs])[0]["triplet_answers"]
    assert answers.image_size == (40, 300)
    for key, values in raw.get_fields().items():
        assert torch.equal(answers.get(key), values), key
    assert answers.detected.tolist() == [True, False, True]


@pytest.mark.parametrize("task", ["prdcls", "sgcls", "sgdet"])
def test_only_images_with_queries_get_answers(tiny_config: TinyConfig, task: str) -> None:
    model = complete_list(tiny_config, task)
    batch = [
        asking(3, [(0, 1, 2)]),
        make_input(3, [], seed=1),
        {**asking(3, []), "queries": Queries.nothing()},
    ]
    for inputs in batch:
        inputs["detections"] = detected(BOXES, CLASSES)
    asked, unasked, nothing = model(batch)
    answers = {"triplet_answers"} if task == "sgdet" else {"pair_answers", "triplet_answers"}
    assert set(unasked) == {"instances", "relations", "task"}
    assert set(asked) == set(nothing) == {*unasked, *answers}
    assert len(asked["triplet_answers"]) == 1
    assert all(len(nothing[key]) == 0 for key in answers)
    if task != "sgdet":
        assert nothing["pair_answers"].predicate_probs.shape == (0, NUM_PREDICATES)


def test_queries_without_annotation_are_refused(tiny_config: TinyConfig) -> None:
    model = complete_list(tiny_config, "sgdet")
    inputs = sgdet_input([(0, 1, 2)])
    del inputs["instances"]
    with pytest.raises(ValueError, match=r"no 'instances', which .*queries need"):
        model([inputs])
