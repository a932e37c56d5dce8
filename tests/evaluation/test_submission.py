import csv
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reldn_d2.evaluation import EvaluatedSplit, PredictedGraph, evaluate_graphs, motifs, reldn_openimages
from reldn_d2.evaluation.checks import prepare_prediction
from reldn_d2.evaluation.io.submission import (
    graph_of_triplets,
    image_sizes,
    load_submission,
    read_submission,
    submission_labels,
    write_submission,
)
from tests.builders.evaluation_scenes import NAMES, Row, Scene, predicted_graph, scenes, truth_graph

CLASSES = ["/m/04bcr3", "/m/01mzpv"]
PREDICATES = ["at", "inside_of", "on"]
LABELS: dict[str, Any] = {"class_labels": CLASSES, "predicate_labels": PREDICATES}
SIZES = {"a": (10, 20), "b": (10, 20)}  # height, width
HEADER = (
    "ImageID,LabelName1,LabelName2,XMin1,XMax1,YMin1,YMax1,XMin2,XMax2,YMin2,YMax2,RelationshipLabel,Score"
)
LINE = "a,/m/04bcr3,/m/01mzpv,0,0.5,0.1,0.9,0.25,1,0,1,on,0.5"
BOXES = [(0, 1, 10, 9), (5, 0, 20, 10)]  # those of LINE, in pixels
files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

Ends = tuple[int, tuple[float, ...]]  # class and box
Triplet = tuple[Ends, Ends, int, float]


@pytest.fixture
def submission(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of the given lines."""

    def write(*lines: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
        path = tmp_path / "submission.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding=encoding)
        return path

    return write


def read(path: Path, sizes: Mapping[str, tuple[int, int]] = SIZES) -> dict[str, PredictedGraph]:
    return read_submission(path, sizes, **LABELS)


def triplets(graph: PredictedGraph) -> list[Triplet]:
    """The triplets in their order, with class and box of subject and object."""
    ends = list(zip(graph.classes.tolist(), map(tuple, graph.boxes.tolist()), strict=True))
    r = graph.relations
    return [
        (ends[s], ends[o], p, score)
        for s, o, p, score in zip(
            *(x.tolist() for x in (r.subject, r.object, r.predicate, r.score)), strict=True
        )
    ]


def float32_triplets(graph: PredictedGraph) -> list[Triplet]:
    """The triplets with scores rounded to float32, for predictions that had such scores."""
    return [(*row[:3], float(np.float32(row[3]))) for row in triplets(graph)]


def check_well_formed(graph: PredictedGraph) -> None:
    """Check the requirements of all protocols on a graph."""
    prepare_prediction(
        graph,
        truth_graph([], [], []),
        "sgdet",
        [motifs()],
        num_classes=len(CLASSES),
        num_predicates=len(PREDICATES),
        where="image",
    )
    assert (graph.relations.subject != graph.relations.object).all()
    assert (np.diff(graph.relations.score) <= 0).all()


def scores32() -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False, allow_infinity=False, width=32)


def corners(size: int) -> st.SearchStrategy[tuple[float, float]]:
    side = st.floats(0, size, width=32)
    return st.tuples(side, side).map(lambda ends: (min(ends), max(ends)))


@st.composite
def predictions(draw: st.DrawFn) -> tuple[PredictedGraph, tuple[int, int]]:
    """A prediction whose entities all differ in class or box, and the size of its image."""
    height, width = draw(st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
    box = st.tuples(corners(width), corners(height)).map(lambda b: (b[0][0], b[1][0], b[0][1], b[1][1]))
    entities = draw(st.lists(st.tuples(st.integers(0, 1), box), max_size=4, unique=True))
    pairs = [(s, o) for s in range(len(entities)) for o in range(len(entities)) if s != o]
    rows: list[Row] = []
    for s, o in draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []:
        order = draw(st.permutations(range(3)))
        best_first = sorted(draw(st.tuples(scores32(), scores32(), scores32())), reverse=True)
        rows += [
            (s, o, p, score, rank) for rank, (p, score) in enumerate(zip(order, best_first, strict=True), 1)
        ]
    rows.sort(key=lambda row: -row[3])
    return predicted_graph([box for _, box in entities], [label for label, _ in entities], rows), (
        height,
        width,
    )


# --- writing


def test_official_file_by_hand(tmp_path: Path) -> None:
    graph = predicted_graph(BOXES, [0, 1], [(0, 1, 2, 0.5, 1), (1, 0, 1, 0.1, 1)])
    path = tmp_path / "deep" / "submission.csv"
    nothing = PredictedGraph.empty()
    sizes = {"d": (10, 20), "c": (100, 100), "b": (10, 20)}
    write_submission(path, {"d": graph, "c": nothing, "b": graph}, sizes, **LABELS)
    lines = [
        "b,/m/04bcr3,/m/01mzpv,0,0.5,0.1,0.9,0.25,1,0,1,on,0.5\n",
        "b,/m/01mzpv,/m/04bcr3,0.25,1,0,1,0,0.5,0.1,0.9,inside_of,0.100000001\n",
    ]
    assert path.read_bytes().decode() == "".join(
        [f"{HEADER}\n", *lines, *(line.replace("b,", "d,", 1) for line in lines)]
    )


def test_kaggle_file_by_hand(tmp_path: Path) -> None:
    graph = predicted_graph(BOXES, [0, 1], [(0, 1, 2, 0.5, 1), (1, 0, 1, 0.1, 1)])
    path = tmp_path / "submission.csv"
    write_submission(path, {"b": graph}, SIZES, **LABELS, kaggle=True)
    assert path.read_bytes().decode() == (
        "ImageId,PredictionString\n"
        "a,\n"
        "b,0.5 /m/04bcr3 0 0.1 0.5 0.9 /m/01mzpv 0.25 0 1 1 on "
        "0.100000001 /m/01mzpv 0.25 0 1 1 /m/04bcr3 0 0.1 0.5 0.9 inside_of\n"
    )


def test_two_predicates_of_a_pair_and_a_hundred_triplets_are_submitted(tmp_path: Path) -> None:
    rows = [(i, 60, p, 0.9 - 0.01 * i - 0.001 * p, p + 1) for i in range(60) for p in range(3)]
    graph = predicted_graph([(i, 0, i + 1, 9) for i in range(61)], [0] * 61, rows)
    sizes = {"a": (10, 100)}
    for kaggle in (False, True):
        write_submission(tmp_path / "s.csv", {"a": graph}, sizes, **LABELS, kaggle=kaggle)
        expected = [(i, p) for i in range(60) for p in range(2)][:100]
        back = triplets(read(tmp_path / "s.csv", sizes)["a"])
        assert [(subject[1][0], predicate) for subject, _, predicate, _ in back] == expected


def test_nine_digits_are_enough_where_float32_is_finest(tmp_path: Path) -> None:
    # Just below 2 ** 10, float32 is relatively finest. Just above 0.1, decimals are relatively coarsest.
    right = np.linspace(1010, 1023.99, 500, dtype=np.float32)
    boxes = np.column_stack([0 * right, 0 * right, right, right])
    graph = predicted_graph(boxes, [0] * 500, [(i, (i + 1) % 500, 0, 0.5, 1) for i in range(500)])
    write_submission(tmp_path / "s.csv", {"a": graph}, {"a": (10001, 10007)}, **LABELS, list_length=500)
    assert float32_triplets(read(tmp_path / "s.csv", {"a": (10001, 10007)})["a"]) == triplets(graph)


@files
@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs", "Cc"])), predictions(), max_size=3),
    st.booleans(),
    st.integers(1, 4),
    st.integers(0, 40),
)
def test_boxes_and_scores_come_back_bit_for_bit(
    tmp_path: Path,
    images: dict[str, tuple[PredictedGraph, tuple[int, int]]],
    kaggle: bool,
    predicates_per_pair: int,
    list_length: int,
) -> None:
    sizes = {"nothing here": (3, 5)} | {image_id: size for image_id, (_, size) in images.items()}
    path = tmp_path / "submission.csv"
    write_submission(
        path,
        {image_id: graph for image_id, (graph, _) in images.items()},
        sizes,
        **LABELS,
        predicates_per_pair=predicates_per_pair,
        list_length=list_length,
        kaggle=kaggle,
    )
    back = read(path, sizes)
    assert back.keys() == sizes.keys()
    for image_id, (graph, _) in images.items():
        listed = graph.relations.rank_in_pair <= predicates_per_pair
        expected = [row for row, kept in zip(triplets(graph), listed, strict=True) if kept][:list_length]
        assert float32_triplets(back[image_id]) == expected
        ranks = graph.relations.rank_in_pair[listed][:list_length]
        assert back[image_id].relations.rank_in_pair.tolist() == ranks.tolist()
        assert back[image_id].boxes.dtype == np.float32
        assert back[image_id].relations.score.dtype == (np.float64 if expected else np.float32)
        check_well_formed(back[image_id])


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (predicted_graph(BOXES, [0, 2], []), "class 0 to 2, but there are 2 labels"),
        (predicted_graph(BOXES, [-1, 0], []), "class -1 to 0, but there are 2 labels"),
        (predicted_graph(BOXES, [0, 1], [(0, 1, 3, 0.5, 1)]), "predicate 3 to 3, but there are 3 labels"),
        (predicted_graph(BOXES, [0, 1], [(0, 1, 0, float("inf"), 1)]), "a score is not a finite"),
        (predicted_graph(BOXES, [0, 1], [(0, 1, 0, float("nan"), 1)]), "a score is not a finite"),
        (predicted_graph([(0, 0, 20.03, 10)], [0], []), "a box leaves the image"),
        (predicted_graph([(0, -0.02, 20, 10)], [0], []), "a box leaves the image"),
        (predicted_graph([(0, 0, float("nan"), 10)], [0], []), "a box leaves the image or is not finite"),
        (predicted_graph([(5, 0, 4, 10)], [0], []), "a box has swapped corners"),
        (predicted_graph([(5, 3, 6, 2)], [0], []), "a box has swapped corners"),
    ],
)
def test_invalid_predictions_are_not_written(tmp_path: Path, graph: PredictedGraph, message: str) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match=f"^image b: {message}"):
        write_submission(path, {"b": graph}, SIZES, **LABELS)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_predicted_image_of_unknown_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image c: image_sizes lacks it"):
        write_submission(tmp_path / "s.csv", {"c": PredictedGraph.empty()}, SIZES, **LABELS)


def test_labels_with_spaces_fit_the_official_form_only(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    labels: dict[str, Any] = {"class_labels": ["traffic, light", "cup"], "predicate_labels": ["next to"]}
    graph = predicted_graph(BOXES, [0, 1], [(0, 1, 0, 0.5, 1)])
    write_submission(path, {"a": graph}, SIZES, **labels)
    assert triplets(read_submission(path, SIZES, **labels)["a"]) == triplets(graph)
    with pytest.raises(ValueError, match=r"Kaggle form .* label 'traffic, light'"):
        write_submission(path, {"a": graph}, SIZES, **labels, kaggle=True)
    labels["class_labels"] = ["light", ""]
    with pytest.raises(ValueError, match=r"Kaggle form .* label ''"):
        write_submission(path, {"a": graph}, SIZES, **labels, kaggle=True)


@pytest.mark.parametrize("key", ["class_labels", "predicate_labels"])
def test_a_repeated_label_is_refused(tmp_path: Path, submission: Callable[..., Path], key: str) -> None:
    labels = LABELS | {key: ["on", "at", "on"]}
    with pytest.raises(ValueError, match="label 'on' is repeated"):
        write_submission(tmp_path / "s.csv", {}, SIZES, **labels)
    with pytest.raises(ValueError, match="label 'on' is repeated"):
        read_submission(submission(), SIZES, **labels)


# --- reading


def test_a_line_is_read_into_pixels(submission: Callable[..., Path]) -> None:
    graphs = read(submission(LINE))
    subject, object = zip([0, 1], map(tuple, BOXES), strict=True)
    assert triplets(graphs["a"]) == [(subject, object, 2, 0.5)]
    assert graphs["a"].scores.tolist() == [1.0, 1.0]
    assert graphs["a"].relations.rank_in_pair.tolist() == [1]
    assert len(graphs["b"].boxes) == len(graphs["b"].relations) == 0


def test_columns_may_be_in_any_order_and_have_their_other_names(submission: Callable[..., Path]) -> None:
    expected = triplets(read(submission(LINE))["a"])
    names, values = HEADER.split(","), LINE.split(",")
    order = np.random.default_rng(0).permutation(len(names))
    shuffled = [
        ",".join([text[i] for i in order] + [extra]) for text, extra in ((names, "Note"), (values, "x"))
    ]
    header = shuffled[0].replace("RelationshipLabel", "RelationLabel").replace("ImageID", "ImageId")
    assert triplets(read(submission(shuffled[1], header=header))["a"]) == expected


def test_blank_lines_and_a_byte_order_mark_are_ignored(submission: Callable[..., Path]) -> None:
    path = submission("", LINE, "", encoding="utf-8-sig")
    assert triplets(read(path)["a"]) == triplets(read(submission(LINE))["a"])


@pytest.mark.parametrize("header", ["ImageId,PredictionString", "ImageID,PredictionString"])
def test_kaggle_form_by_hand(submission: Callable[..., Path], header: str) -> None:
    string = "0.5 /m/04bcr3 0 0.1 0.5 0.9 /m/01mzpv 0.25 0 1 1 on"
    low = "0.25 /m/01mzpv 0.25 0 1 1 /m/04bcr3 0 0.1 0.5 0.9 at"
    graphs = read(submission(f"b,{low}  {string}", "a,", header=header))
    a, b = zip([0, 1], map(tuple, BOXES), strict=True)
    assert triplets(graphs["b"]) == [(a, b, 2, 0.5), (b, a, 0, 0.25)]
    assert len(graphs["a"].relations) == 0


def test_kaggle_columns_may_be_swapped_and_a_list_may_be_long(submission: Callable[..., Path]) -> None:
    csv.field_size_limit(131072)  # Python's own limit
    triplet = "0.5 /m/04bcr3 0 0.1 0.5 0.9 /m/01mzpv 0.25 0 1 1 on"
    graphs = read(submission(" ".join([triplet] * 3000) + ",b", header="PredictionString,ImageId"))
    assert len(graphs["b"].relations) == 3000
    assert csv.field_size_limit() == 131072


def test_lines_of_an_image_may_be_scattered_and_in_any_order(submission: Callable[..., Path]) -> None:
    other = LINE.replace(",on,0.5", ",at,0.75")
    graphs = read(submission(LINE, other.replace("a,", "b,", 1), other))
    assert [row[2:] for row in triplets(graphs["a"])] == [(0, 0.75), (2, 0.5)]
    assert graphs["a"].relations.rank_in_pair.tolist() == [1, 2]
    assert [row[2:] for row in triplets(graphs["b"])] == [(0, 0.75)]
    assert len(graphs["a"].boxes) == 2


def test_equal_scores_keep_the_order_of_the_file(submission: Callable[..., Path]) -> None:
    lines = [LINE.replace(",on,", f",{predicate},") for predicate in ("inside_of", "on", "at")]
    graph = read(submission(*lines))["a"]
    assert graph.relations.predicate.tolist() == [1, 2, 0]
    assert graph.relations.rank_in_pair.tolist() == [1, 2, 3]


def test_scores_equal_as_float32_rank_as_they_are_written(submission: Callable[..., Path]) -> None:
    lines = [LINE.replace(",on,0.5", f",{end}") for end in ("on,0.5", "at,0.5000000001")]
    assert read(submission(*lines))["a"].relations.predicate.tolist() == [0, 2]


def test_scores_equal_as_float32_rank_across_images(submission: Callable[..., Path]) -> None:
    # One relationship of "on". The right row scores less, but by less than float32 can tell.
    wrong = (
        LINE.replace("a,", "b,", 1)
        .replace("/m/01mzpv", "/m/04bcr3", 1)
        .replace(",on,0.5", ",on,0.5000000001")
    )
    graphs = read(submission(wrong, LINE))
    assert np.float32(0.5000000001) == np.float32(0.5)
    truths = {"a": truth_graph(BOXES, [0, 1], [(0, 1, 2)]), "b": truth_graph(BOXES, [0, 1], [(0, 1, 0)])}
    found = evaluate_graphs(truths, graphs, "sgdet", ["openimages"], EvaluatedSplit(PREDICATES))
    # With a tie, "a" would come first, and AP would be 100.
    assert found["openimages"].metrics["AP_rel/on"] == 50


def test_float64_scores_are_written_without_a_loss(tmp_path: Path) -> None:
    scores = np.array([0.1 + 2**-50, 0.1, 1 / 3 * 0.3, 5e-324])
    assert len(set(scores.tolist())) == 4 > len(set(scores[:3].astype(np.float32).tolist())) + 2
    graph = graph_of_triplets(
        classes=np.zeros((4, 2), dtype=np.int64),
        boxes=np.tile(np.array(BOXES, dtype=np.float32), (4, 1, 1)),
        predicate=np.array([0, 1, 2, 0]),
        score=scores,
    )
    for kaggle in (False, True):
        path = tmp_path / "s.csv"
        sizes = {"a": (10, 20)}
        write_submission(path, {"a": graph}, sizes, **LABELS, kaggle=kaggle, predicates_per_pair=3)
        assert read(path, sizes)["a"].relations.score.tolist() == scores.tolist()


def test_a_repeated_triplet_stays_and_is_the_best_of_its_own_pair(submission: Callable[..., Path]) -> None:
    other = LINE.replace(",on,0.5", ",at,0.25")
    graph = read(submission(LINE, LINE, other, LINE))["a"]
    assert [row[2] for row in triplets(graph)] == [2, 2, 2, 0]
    assert graph.relations.rank_in_pair.tolist() == [1, 1, 1, 2]
    assert len(set(graph.relations.subject.tolist()[:3])) == 3
    assert graph.relations.subject[3] == graph.relations.subject[0]
    assert len(set(graph.relations.object.tolist())) == 1
    check_well_formed(graph)


def test_boxes_equal_as_float32_are_one_entity(submission: Callable[..., Path]) -> None:
    graph = read(submission(LINE, LINE.replace("0.9", "0.90000000000001").replace(",on,", ",at,")))["a"]
    assert len(graph.boxes) == 2 and graph.relations.rank_in_pair.tolist() == [1, 2]


def test_a_subject_and_an_object_with_one_box_and_label_are_two_entities(
    submission: Callable[..., Path],
) -> None:
    line = "a,/m/04bcr3,/m/04bcr3,0,0.5,0.1,0.9,0,0.5,0.1,0.9,on,0.5"
    graph = read(submission(line, line))["a"]
    assert triplets(graph) == [((0, BOXES[0]), (0, BOXES[0]), 2, 0.5)] * 2
    assert len(graph.boxes) == 3
    check_well_formed(graph)


# Few labels, boxes and scores, so that repeats, equal entities and equal scores are common.
rows_of_a_file = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.tuples(st.integers(0, 1), st.integers(0, 1)),
        st.tuples(st.integers(0, 1), st.integers(0, 1)),
        st.integers(0, 2),
        st.sampled_from(["0.5", "0.75", "1e-3"]),
    ),
    max_size=12,
)


@files
@given(rows_of_a_file, st.booleans())
def test_graphs_equal_the_definition(submission: Callable[..., Path], rows: list, kaggle: bool) -> None:
    # corners x0, y0, x1, y1 of each box, relative to the 10 x 20 image
    parts = [("0", "0.1", "0.5", "0.9"), ("0.25", "0", "1", "1")]
    texts = []
    for image_id, (c1, b1), (c2, b2), p, score in rows:
        (x0, y0, x1, y1), (u0, v0, u1, v1) = parts[b1], parts[b2]
        label, other = CLASSES[c1], CLASSES[c2]
        if kaggle:
            texts.append(
                f"{image_id},{score} {label} {x0} {y0} {x1} {y1} {other} {u0} {v0} {u1} {v1} {PREDICATES[p]}"
            )
        else:
            texts.append(
                f"{image_id},{label},{other},{x0},{x1},{y0},{y1},{u0},{u1},{v0},{v1},{PREDICATES[p]},{score}"
            )
    graphs = read(submission(*texts, header="ImageId,PredictionString" if kaggle else HEADER))
    for image_id in SIZES:
        best_first = sorted((row for row in rows if row[0] == image_id), key=lambda row: -float(row[4]))
        seen: Counter[Any] = Counter()
        pairs: Counter[Any] = Counter()
        names, ranks = [], []
        for _, subject, object, p, _ in best_first:
            name = (*subject, seen[subject, object, p] + (subject == object)), (*object, 0)
            seen[subject, object, p] += 1
            pairs[name] += 1
            names.append(name)
            ranks.append(pairs[name])
        graph = graphs[image_id]
        relations = graph.relations
        found = list(zip(relations.subject.tolist(), relations.object.tolist(), strict=True))
        entity = dict(zip(sum(names, ()), sum(found, ()), strict=True))
        assert [(entity[s], entity[o]) for s, o in names] == found
        assert len(set(entity.values())) == len(entity) == len(graph.boxes)
        for (label, box, _), i in entity.items():
            assert graph.classes[i] == label and tuple(graph.boxes[i].tolist()) == BOXES[box]
        assert relations.predicate.tolist() == [row[3] for row in best_first]
        assert relations.score.tolist() == [float(row[4]) for row in best_first]
        assert relations.rank_in_pair.tolist() == ranks
        check_well_formed(graph)


def test_a_little_outside_the_image_is_kept_as_it_is(submission: Callable[..., Path]) -> None:
    graph = read(submission(LINE.replace(",0,1,on", ",-0.0009,1.0009,on")))["a"]
    assert graph.boxes[graph.relations.object[0]].tolist() == pytest.approx([5, -0.009, 20, 10.009], abs=1e-5)


def test_images_that_the_data_set_does_not_have_are_skipped_and_counted(
    submission: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    other = [LINE.replace("a,", f"{image_id},", 1) for image_id in ("z", "y", "z")]
    for path in (
        submission(other[0], LINE, *other[1:]),
        submission(
            *(f"{i},0.5 /m/04bcr3 0 0.1 0.5 0.9 /m/01mzpv 0.25 0 1 1 on" for i in "zayz"),
            header="ImageId,PredictionString",
        ),
    ):
        found = load_submission(path, SIZES, **LABELS)
        assert {image_id: len(graph.relations) for image_id, graph in found.predictions.items()} == {
            "a": 1,
            "b": 0,
        }
        assert found.notes == [
            "3 rows of 2 images that the data set does not have were skipped, as the official tool does. The "
            "first is line 2"
        ]
        assert f"{path}: {found.notes[0]}" in caplog.messages


def test_a_submission_for_another_split_is_refused(submission: Callable[..., Path]) -> None:
    path = submission(LINE.replace("a,", "z,", 1), LINE.replace("a,", "y,", 1))
    message = (
        "line 2, image z: the data set has no such image, and none of the 2 in the file; evaluate the split"
    )
    with pytest.raises(ValueError, match=f"^{path}: {message}"):
        read(path)
    # skipped rows of an image that it has are enough
    attribute = LINE.replace(",on,", ",is,")
    assert not len(read(submission(LINE.replace("a,", "z,", 1), attribute))["a"].relations)
    # rows that are skipped are checked, as the official tool does
    path = submission(LINE, LINE.replace("a,", "z,", 1).replace("/m/01mzpv", "Chair"))
    with pytest.raises(ValueError, match=f"^{path}: line 3, image z: LabelName2 'Chair' is not known"):
        read(path)


def test_boxes_that_leave_the_image_are_kept_and_counted(submission: Callable[..., Path]) -> None:
    far = LINE.replace(",0,1,on", ",-0.5,1.25,on")  # y of the object; 4/7 of it is in the image
    found = load_submission(submission(far, LINE), SIZES, **LABELS)
    graph = found.predictions["a"]
    assert graph.boxes[graph.relations.object[0]].tolist() == [5, -5, 20, 12.5]
    assert found.notes == [
        "1 rows have a box that leaves the image; they count as they are. The first is line 2"
    ]
    # 4/9 of it
    found = load_submission(submission(LINE, far.replace("1.25", "1.75")), SIZES, **LABELS)
    assert found.notes == [
        "1 rows have a box that leaves the image; they count as they are. In 1 rows more than half of a box "
        "is outside: it can't be right. The first is line 3"
    ]


def test_boxes_in_other_units_are_named(submission: Callable[..., Path]) -> None:
    def scaled(factor: float, predicate: str = "on") -> str:
        names, numbers = LINE.split(",")[:3], LINE.split(",")[3:11]
        return ",".join([*names, *(str(factor * float(x)) for x in numbers), predicate, "0.5"])

    for factor in (640, 100, 3):
        path = submission(scaled(factor), scaled(factor, "at"))
        with pytest.raises(
            ValueError, match=rf"^{path}: no box can be right, .* coordinate is {factor}\. Give .* not pixels"
        ):
            read(path)
    (note,) = load_submission(submission(LINE, scaled(100), scaled(100, "at")), SIZES, **LABELS).notes
    assert "2 rows have a box that leaves" in note and "In 2 rows more than half" in note
    assert "These are most boxes: they have to be in [0, 1], and may be pixels or percent" in note
    (note,) = load_submission(submission(LINE, scaled(100)), SIZES, **LABELS).notes
    assert "most boxes" not in note


def test_attributes_are_skipped_and_counted(
    submission: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    attribute = "a,/m/04bcr3,/m/wooden,0,0.5,0.1,0.9,0,0.5,0.1,0.9,is,0.5"
    path = submission(attribute, LINE, attribute)
    with caplog.at_level(logging.WARNING):
        assert len(read(path)["a"].relations) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 2 rows of 'is' were skipped: the data set has no such predicate. The official tool counts "
        "them: its numbers are those of a data set of the whole challenge "
        "(reldn_openimages_vrd_challenge_val, or register_openimages_vrd with challenge=True)"
    ]


def test_the_attribute_relation_is_read_if_it_is_a_predicate_of_the_data_set(
    submission: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = submission(LINE.replace(",on,", ",is,"))
    graph = read_submission(path, SIZES, class_labels=CLASSES, predicate_labels=["on", "is"])["a"]
    assert graph.relations.predicate.tolist() == [1] and not caplog.records


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("/m/04bcr3", "Table", "image b: LabelName1 'Table' is not known; use the labels"),
        ("/m/01mzpv", "", "image b: LabelName2 '' is not known; use the labels"),
        (",on,", ",On,", "image b: RelationshipLabel 'On' is not known; use the labels"),
        ("0.1", "zero", "image b: a value is not a number .*YMin1 zero, .*; correct it"),
        (",on,0.5", ",on,", "image b: a value is not a number .*Score .*; correct it"),
        (",on,0.5", ",on,nan", "image b: a score is not a finite number; correct it"),
        (",on,0.5", ",on,-inf", "image b: a score is not a finite number"),
        (",on,0.5", ",on,1e309", "image b: a score is not a finite number"),
        ("0.9", "nan", r"image b: a box is not finite or beyond 1e\+06 sides of the image; correct it"),
        ("0.9", "-inf", "image b: a box is not finite"),
        ("0.9", "1.1e6", "image b: a box is not finite or beyond"),
        ("0.9", "0.05", "image b: a box has swapped corners; .* check the order of the columns"),
        ("0.25,1", "1,0.25", "image b: a box has swapped corners"),
        (",on,0.5", ",on", "image b: 12 fields, but the header has 13. Correct the line"),
        (",on,0.5", ",on,0.5,7", "image b: 14 fields, but the header has 13"),
    ],
)
def test_a_wrong_line_is_named(submission: Callable[..., Path], old: str, new: str, message: str) -> None:
    right = LINE.replace("a,", "b,", 1)
    path = submission(LINE, "", right, right.replace(old, new, 1), LINE)
    with pytest.raises(ValueError, match=f"^{path}: line 5, {message}"):
        read(path)


@pytest.mark.parametrize(
    ("string", "message"),
    [
        (
            "0.5 /m/04bcr3 0 0 1 1 /m/01mzpv 0 0 1 1",
            "11 words in PredictionString, not a multiple of 12; .*Score",
        ),
        ("0.5 /m/04bcr3 0 0 1 1 /m/01mzpv 0 0 1 1 on 1", "13 words"),
        ("0.5 /m/04bcr3 0 1 1 0 /m/01mzpv 0 0 1 1 on", "a box has swapped corners"),
        ("0.5 /m/04bcr3 0 0 1 1 /m/01mzpv 0 0 1 1 under", "RelationshipLabel 'under' is not known"),
    ],
)
def test_a_wrong_kaggle_line_is_named(submission: Callable[..., Path], string: str, message: str) -> None:
    path = submission("b,", f"a,{string}", header="ImageId,PredictionString")
    with pytest.raises(ValueError, match=f"^{path}: line 3, image a: {message}"):
        read(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "line 1 has no column ImageID; it must name the columns ImageID,LabelName1"),
        (HEADER.replace(",Score", ",Confidence"), "line 1 has no column Score"),
        (HEADER.replace("XMin2,", "XMin1,"), "line 1 has no column XMin2"),
        (HEADER + ",RelationLabel", "line 1 names a column twice"),
        (
            "PredictionString",
            "line 1 has no column ImageID; it must name the columns ImageID,PredictionString",
        ),
    ],
)
def test_a_wrong_header_is_named(submission: Callable[..., Path], header: str, message: str) -> None:
    path = submission(LINE, header=header)
    with pytest.raises(ValueError, match=f"^{path}: {message}"):
        read(path)


def test_a_file_cut_off_before_its_image_is_named_too(submission: Callable[..., Path]) -> None:
    header = ",".join([*HEADER.split(",")[1:], "ImageID"])
    path = submission("/m/04bcr3,/m/01m", header=header)
    with pytest.raises(ValueError, match=f"^{path}: line 2, image unknown: 2 fields"):
        read(path)


def test_other_encodings_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_bytes(HEADER.encode() + b"\n\xff\xfe\n")
    with pytest.raises(ValueError, match=f"^{path}: not UTF-8"):
        read(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        read(tmp_path / "absent.csv")


def test_a_split_without_images_has_no_graphs(submission: Callable[..., Path]) -> None:
    assert read(submission(), {}) == {}


# --- the same numbers


def written_and_read(graph: PredictedGraph, size: int, path: Path, kaggle: bool) -> PredictedGraph:
    write_submission(path, {"0": graph}, {"0": (size, size)}, **LABELS, kaggle=kaggle)
    return read(path, {"0": (size, size)})["0"]


def metrics(truth: Any, graphs: Sequence[PredictedGraph], protocol: Any) -> list[dict[str, float]]:
    return [
        evaluate_graphs({"0": truth}, {"0": graph}, "sgdet", [protocol], EvaluatedSplit(NAMES))[
            protocol.name
        ].metrics
        for graph in graphs
    ]


@files
@given(scenes(max_entities=5), st.booleans())
def test_a_submission_scores_like_the_prediction(tmp_path: Path, scene: Scene, kaggle: bool) -> None:
    graph = scene.predicted
    ends = np.column_stack([graph.classes, graph.boxes])
    # Equal entities become one; a test below shows the effect.
    assume(len(np.unique(ends, axis=0)) == len(ends) and len(scene.truth.relations) > 0)
    back = written_and_read(graph, 5, tmp_path / "s.csv", kaggle)
    before, after = metrics(scene.truth, (graph, back), reldn_openimages())
    assert before == pytest.approx(after, abs=0, nan_ok=True)
    # 20 pairs: nothing is cut off, so the best predicate of each pair is there
    before, after = metrics(scene.truth, (graph, back), motifs())
    for k in (20, 50, 100):
        assert before[f"R@{k}"] == after[f"R@{k}"]


def test_graph_constraint_recall_holds_up_to_half_of_the_list(tmp_path: Path) -> None:
    # 100 of 240 triplets are submitted; of any 100 with two predicates a pair, 50 are the best of their pair.
    rng = np.random.default_rng(0)
    boxes = [(10 * i, 0, 10 * i + 9, 9) for i in range(16)]
    pairs = [(s, o) for s in range(16) for o in range(16) if s != o][:120]
    rows: list[Row] = []
    for (s, o), best in zip(pairs, rng.uniform(0.5, 1, 120), strict=True):
        rows += [(s, o, 0, best, 1), (s, o, 1, 0.95 * best, 2)]
    graph = predicted_graph(boxes, [0] * 16, sorted(rows, key=lambda row: -row[3]))
    truth = truth_graph(boxes, [0] * 16, [(s, o, p) for s, o in pairs for p in (0, 1)])
    back = written_and_read(graph, 160, tmp_path / "s.csv", False)
    before, after = metrics(truth, (graph, back), motifs())
    assert before["R@20"] == after["R@20"] > 0
    assert before["R@50"] == after["R@50"] > before["R@20"]
    assert before["R@100"] > after["R@100"]
    before, after = metrics(truth, (graph, back), reldn_openimages())
    assert before == after


def test_entities_of_one_box_and_label_become_one_and_share_their_ranks(tmp_path: Path) -> None:
    rows = [(0, 2, 0, 0.9, 1), (1, 2, 1, 0.8, 1), (0, 2, 2, 0.7, 2)]
    graph = predicted_graph([BOXES[0], BOXES[0], BOXES[1]], [0, 0, 1], rows)
    back = written_and_read(graph, 20, tmp_path / "s.csv", False)
    assert float32_triplets(back) == triplets(graph)
    assert len(back.boxes) == 2 and back.relations.rank_in_pair.tolist() == [1, 2, 3]


def test_the_annotation_sample_with_scores_is_read(dev_data: Path, tmp_path: Path) -> None:
    folder = dev_data / "openimages_vrd"
    with (folder / "sample-vrd.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "class-descriptions-boxable.csv").open(newline="") as file:
        classes = [row["label"] for row in csv.DictReader(file)]
    predicates = sorted({row["RelationLabel"] for row in rows} - {"is"})
    path = tmp_path / "submission.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "Score"])
        writer.writeheader()
        writer.writerows({**row, "Score": 1 / (i + 1)} for i, row in enumerate(rows))
    sizes = {row["ImageID"]: (768, 1024) for row in rows}
    graphs = read_submission(path, sizes, class_labels=classes, predicate_labels=predicates)
    relations = [row for row in rows if row["RelationLabel"] != "is"]
    assert sum(len(graph.relations) for graph in graphs.values()) == len(relations) == 8675
    for image_id in list(sizes)[:200]:
        found = [
            (
                classes[s[0]],
                classes[o[0]],
                predicates[p],
                *(x / 1024 for x in (s[1][0], s[1][2], o[1][0], o[1][2])),
            )
            for s, o, p, _ in triplets(graphs[image_id])
        ]
        keys = ("LabelName1", "LabelName2", "RelationLabel")
        expected = [
            (*(row[key] for key in keys), *(float(row[key]) for key in ("XMin1", "XMax1", "XMin2", "XMax2")))
            for row in relations
            if row["ImageID"] == image_id
        ]
        assert [row[:3] for row in found] == [row[:3] for row in expected]
        np.testing.assert_allclose(
            [row[3:] for row in found], [row[3:] for row in expected], rtol=1e-6, atol=1e-7
        )


# --- labels and sizes of a data set


def test_official_labels_come_before_names() -> None:
    metadata = MetadataCatalog.get("submission_labels_test")
    try:
        with pytest.raises(
            ValueError, match="'submission_labels_test' has no class_labels and no thing_classes"
        ):
            submission_labels("submission_labels_test")
        metadata.set(thing_classes=["Table", "Ball"], predicate_classes=["at", "inside of"])
        assert submission_labels("submission_labels_test") == (["Table", "Ball"], ["at", "inside of"])
        metadata.set(class_labels=("/m/04bcr3", "/m/018xm"))
        assert submission_labels("submission_labels_test") == (["/m/04bcr3", "/m/018xm"], ["at", "inside of"])
        metadata.set(predicate_labels=["at"])
        with pytest.raises(ValueError, match="has 1 predicate_labels for 2 predicate_classes"):
            submission_labels("submission_labels_test")
    finally:
        MetadataCatalog.remove("submission_labels_test")


def test_labels_of_a_registered_data_set_are_its_names() -> None:
    DatasetCatalog.get("reldn_scenes_test")
    metadata = MetadataCatalog.get("reldn_scenes_test")
    expected = list(metadata.thing_classes), list(metadata.predicate_classes)
    assert submission_labels("reldn_scenes_test") == expected


def test_sizes_go_by_the_image_id_as_text() -> None:
    records = [{"image_id": 7, "height": 480, "width": 640}, {"image_id": "b", "height": 1, "width": 2}]
    assert image_sizes(records) == {"7": (480, 640), "b": (1, 2)}


@pytest.mark.parametrize("record", [{}, {"height": 3}, {"height": 3, "width": 0}])
def test_an_image_without_a_size_is_named(record: dict) -> None:
    with pytest.raises(ValueError, match="image 7: height and width are"):
        image_sizes([{"image_id": 7, **record}])


def test_a_file_without_a_last_line_break_may_be_cut_off(submission: Callable[..., Path]) -> None:
    path = submission(LINE)
    path.write_text(path.read_text()[:-2])  # "0." instead of "0.5"
    with pytest.raises(ValueError, match=r"the last line has no line break.*Write the submission again"):
        read(path)


def test_repeated_triplets_and_scores_out_of_range_are_counted(
    submission: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    other = LINE.replace("on,0.5", "on,7")
    caplog.set_level(logging.INFO)
    found = load_submission(submission(LINE, other, LINE), SIZES, **LABELS)
    assert len(found.notes) == 2
    assert (
        "2 rows repeat the triplet of an earlier row; each of them counts. The first is line 3" in caplog.text
    )
    assert "1 rows have a score that is not in [0, 1]; they are ranked as they are. The first is line 3" in (
        caplog.text
    )
    assert f"3 triplets in 1 of {len(SIZES)} images" in caplog.text
