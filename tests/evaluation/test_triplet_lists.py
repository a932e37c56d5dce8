"""Lists of scored triplets: what is read, and what is refused with its line."""

import csv
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reldn_d2.evaluation import PredictedGraph, TripletList, read_triplet_list
from reldn_d2.evaluation.io.triplet_lists import is_triplet_list
from reldn_d2.structures import Vocabulary
from tests.builders.evaluation_scenes import truth_graph

VOCABULARY = Vocabulary(["cat", "dog", "=house"], ["on", "by", "next to"])
A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (20, 20, 30, 30)
TRUTHS = {
    "1": truth_graph([A, B], [0, 1], [(0, 1, 0)]),
    "001": truth_graph([A, B, C], [0, 1, 1], [(0, 1, 0)]),
    "nothing here": truth_graph([], [], []),
}
CORNERS = [f"{role}_{corner}" for role in ("subject", "object") for corner in ("x0", "y0", "x1", "y1")]
SGDET = ["image_id", "subject", *CORNERS[:4], "predicate", "object", *CORNERS[4:], "score"]
SGCLS = ["image_id", "subject_index", "subject", "object_index", "object", "predicate", "score"]
PRDCLS = ["image_id", "subject_index", "object_index", "predicate", "score"]
LINE = ["1", "cat", *A, "on", "dog", *B, 0.5]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a list of the given lines."""

    def write(*lines: Sequence[object], columns: Sequence[str] = SGDET, encoding: str = "utf-8") -> Path:
        path = tmp_path / "list.csv"
        with path.open("w", newline="", encoding=encoding) as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *lines])
        return path

    return write


def read(path: Path, task: str = "sgdet", **options: Any) -> TripletList:
    return read_triplet_list(path, TRUTHS, task, VOCABULARY, **options)


def triplets(graph: PredictedGraph) -> list[tuple[Any, ...]]:
    """Class and box of subject and object, predicate, score and rank of each triplet."""
    ends = list(zip(graph.classes.tolist(), map(tuple, graph.boxes.tolist()), strict=True))
    r = graph.relations
    columns = (x.tolist() for x in (r.subject, r.object, r.predicate, r.score, r.rank_in_pair))
    return [(ends[s], ends[o], p, score, rank) for s, o, p, score, rank in zip(*columns, strict=True)]


def changed(**fields: object) -> list[object]:
    return [fields.get(name, value) for name, value in zip(SGDET, LINE, strict=True)]


def test_lines_are_read_into_graphs(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    lines = [LINE, changed(predicate="by", score=0.75), changed(image_id="001", object="cat", object_x0=25.5)]
    found = read(write(*lines))
    assert sorted(found.predictions) == sorted(TRUTHS) and found.notes == []
    assert triplets(found.predictions["1"]) == [((0, A), (1, B), 1, 0.75, 1), ((0, A), (1, B), 0, 0.5, 2)]
    assert triplets(found.predictions["001"]) == [((0, A), (0, (25.5, 0, 30, 10)), 0, 0.5, 1)]
    assert len(found.predictions["nothing here"].boxes) == 0
    assert not caplog.records


def test_columns_may_be_in_any_order_and_others_are_named(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    order = np.random.default_rng(0).permutation(len(SGDET))
    path = write([*(LINE[i] for i in order), 7], columns=[*(SGDET[i] for i in order), "rank"])
    assert triplets(read(path).predictions["1"]) == triplets(read(write(LINE)).predictions["1"])
    assert [x.getMessage() for x in caplog.records] == [f"{path}: not read in sgdet: the columns rank"]


def test_scores_are_ranked_to_their_last_bit_and_equal_ones_in_the_order_of_the_file(write: Write) -> None:
    # Two neighbours in float64. A parser that is not exact reads some such numbers as one.
    random = np.random.default_rng(5)
    low = random.random(200)
    lines = [
        changed(predicate=name, score=repr(float(score)), object_x1=30 + i)
        for i, x in enumerate(low)
        for name, score in (("on", x), ("by", np.nextafter(x, 2)), ("next to", x))
    ]
    found = read(write(*lines)).predictions["1"].relations
    assert (np.diff(found.score) <= 0).all()
    for i in range(0, 600, 3):
        assert found.predicate[i : i + 3].tolist() == [1, 0, 2]
        assert found.score[i] > found.score[i + 1] == found.score[i + 2]
    assert sorted(found.score[1::3]) == sorted(low)


def test_names_are_read_as_they_are_and_as_spreadsheets_get_them(write: Write) -> None:
    for name in ("=house", "'=house"):
        path = write(changed(subject=name, predicate="next to"), encoding="utf-8-sig")
        assert triplets(read(path).predictions["1"])[0][:3] == ((2, A), (1, B), 2)


def test_rows_of_annotated_entities(write: Write) -> None:
    path = write(["001", 2, 0, "by", 0.25], ["001", 2, 0, "on", 0.5], columns=PRDCLS)
    graph = read(path, "prdcls").predictions["001"]
    assert triplets(graph) == [((1, C), (0, A), 0, 0.5, 1), ((1, C), (0, A), 1, 0.25, 2)]
    assert len(graph.boxes) == 3
    assert len(read(path, "prdcls").predictions["1"].boxes) == 2  # annotated, without a triplet
    # With classes, which contradict the annotation in sgcls only.
    path = write(["001", 2, "cat", 0, "=house", "by", 0.25], columns=SGCLS)
    assert triplets(read(path, "sgcls").predictions["001"]) == [((0, C), (2, A), 1, 0.25, 1)]
    with pytest.raises(ValueError, match="line 2: image 001: entity 2 is cat here, but it is annotated as"):
        read(path, "prdcls")
    path = write(["001", 2, "dog", 0, "cat", "by", 0.25], columns=SGCLS)
    assert triplets(read(path, "prdcls").predictions["001"]) == [((1, C), (0, A), 1, 0.25, 1)]


def test_repeats_are_counted_and_kept_or_merged(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    lines = [
        changed(score=0.25),
        LINE,
        changed(score=0.125),
        changed(predicate="by"),
        changed(image_id="001"),
    ]
    path = write(*lines)
    found = read(path)
    note = "2 of 5 triplets repeat another one of their image, and count as well."
    assert found.notes == [note]
    assert [x.getMessage() for x in caplog.records] == [f"{path}: {note} The first is in line 2"]
    assert [x[2:] for x in triplets(found.predictions["1"])] == [
        (0, 0.5, 1),
        (1, 0.5, 2),
        (0, 0.25, 1),
        (0, 0.125, 1),
    ]
    merged = read(path, merge_repeats=True)
    assert [x[2:] for x in triplets(merged.predictions["1"])] == [(0, 0.5, 1), (1, 0.5, 2)]
    assert merged.notes == [
        "2 of 5 triplets repeat another one of their image, and are left out: only the best of each counts "
        "(merged repeats)."
    ]
    path = write(["1", 0, 1, "on", 0.5], ["1", 0, 1, "on", 0.5], columns=PRDCLS)
    for merge, kept in ((False, 2), (True, 1)):
        found = read(path, "prdcls", merge_repeats=merge)
        assert len(found.predictions["1"].relations) == kept and found.notes[0].startswith("1 of 2 triplets")


def test_images_that_the_data_set_does_not_have_are_counted(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(LINE, changed(image_id="01", subject="zebra"), changed(image_id="7"), changed(image_id="7"))
    found = read(path)
    note = "3 of 4 triplets are of 2 images that the data set does not have, and are left out."
    assert found.notes == [note] and found.predictions.keys() == TRUTHS.keys()
    assert [x.getMessage() for x in caplog.records] == [f"{path}: {note} The first is in line 3, image 01"]
    with pytest.raises(
        ValueError, match=r"none of its 1 images \(01, ...\); the image ids of the data set are"
    ):
        read(write(changed(image_id="01")))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"subject": "catt"},
            "line 3: image 1: the subject 'catt' is no class of the data set .similar: 'cat'.",
        ),
        (
            {"object": "xyz"},
            "line 3: image 1: the object 'xyz' is no class of the data set .no similar name.",
        ),
        ({"predicate": "next_to"}, "line 3: image 1: the predicate 'next_to' is no predicate .* 'next to'"),
        ({"score": "nan"}, "line 3: score is missing or not a number"),
        ({"score": ""}, "line 3: score is missing or not a number"),
        ({"score": "inf"}, "line 3: image 1: score is inf, which is not finite"),
        ({"score": "1e999"}, "line 3: image 1: score is inf, which is not finite"),
        ({"object_y1": "-inf"}, "line 3: image 1: object_y1 is -inf, which is not finite"),
        ({"object_y1": "ten"}, "line 3: object_y1 is missing or not a number"),
        ({"image_id": ""}, "line 3: image_id is missing"),
        ({"object_x1": 19.5}, "line 3: image 1: the box of the object has swapped corners"),
        ({"subject_y0": 11}, "line 3: image 1: the box of the subject has swapped corners"),
    ],
)
def test_a_wrong_line_is_named_and_counted(write: Write, fields: dict[str, Any], message: str) -> None:
    path = write(LINE, changed(**fields), changed(**{"predicate": "by", **fields}))
    with pytest.raises(ValueError, match=rf"list\.csv: {message}.* The same check fails for 1 more: line 4"):
        read(path)


@pytest.mark.parametrize(
    ("task", "line", "message"),
    [
        ("prdcls", ["001", 3, 0, "on", 1], r"line 2: image 001 has no annotated entity 3 \(subject_index\)"),
        ("prdcls", ["1", 0, 2, "on", 1], r"line 2: image 1 has no annotated entity 2 \(object_index\)"),
        ("prdcls", ["1", 0, -1, "on", 1], r"line 2: image 1 has no annotated entity -1"),
        ("prdcls", ["1", 0.5, 1, "on", 1], r"line 2: image 1 has no annotated entity 0.5"),
        ("prdcls", ["nothing here", 0, 1, "on", 1], "line 2: image nothing here has no annotated entity 0"),
        ("sgcls", ["1", 0, "cat", 2, "dog", "on", 1], "line 2: image 1 has no annotated entity 2"),
    ],
)
def test_rows_that_are_no_entity_are_named(write: Write, task: str, line: list[object], message: str) -> None:
    path = write(line, columns=PRDCLS if task == "prdcls" else SGCLS)
    with pytest.raises(ValueError, match=f"{message}.*Entities count from 0, in annotation order"):
        read(path, task)


def test_an_entity_has_one_class(write: Write) -> None:
    lines = [["001", 0, "cat", 1, "dog", "on", 0.9], ["001", 1, "cat", 2, "dog", "on", 0.8]]
    with pytest.raises(ValueError, match="line 2: image 001: entity 1 is dog here, but it has another class"):
        read(write(*lines, columns=SGCLS), "sgcls")


@pytest.mark.parametrize(
    ("columns", "task", "message"),
    [
        ([*SGDET[:-1], "Score"], "sgdet", "no column score .'Score' is similar to score.: for sgdet a list"),
        (SGDET[:1] + SGDET[2:], "sgdet", "line 1 has no column subject: for sgdet"),
        (SGDET, "prdcls", "no column subject_index, object_index.*A list with boxes is for the task sgdet"),
        (PRDCLS, "sgcls", "no column subject, object: for sgcls"),
        (PRDCLS, "sgdet", "A list with rows of annotated entities is for the tasks sgcls and prdcls"),
        ([*SGDET, "score"], "sgdet", "column score is there twice"),
    ],
)
def test_wrong_columns_are_named(write: Write, columns: list[str], task: str, message: str) -> None:
    path = write([1] * len(columns), columns=columns)
    assert is_triplet_list(path)
    with pytest.raises(ValueError, match=rf"list\.csv: .*{message}"):
        read(path, task)


def test_files_that_are_cut_off_or_empty_are_refused(write: Write, tmp_path: Path) -> None:
    path = write(LINE, LINE)
    path.write_text(path.read_text()[:-2])
    with pytest.raises(ValueError, match="last line has no line break"):
        read(path)
    with pytest.raises(ValueError, match="no line but its header"):
        read(write())
    path.write_text("")
    with pytest.raises(ValueError, match="the file is empty"):
        read(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("columns", "answer"),
    [
        (SGDET, True),
        (PRDCLS, True),
        (["ImageId", "PredictionString"], False),
        (["ImageID", "LabelName1"], False),
        (["image", "RelationLabel"], False),
    ],
)
def test_the_header_tells_a_list_from_a_submission(write: Write, columns: list[str], answer: bool) -> None:
    assert is_triplet_list(write(columns=columns)) is answer


def test_the_log_says_how_many_triplets_there_are(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        read(write(LINE, changed(image_id="001")))
    assert caplog.records[-1].getMessage().endswith("list.csv: 2 triplets in 2 of 3 images")
