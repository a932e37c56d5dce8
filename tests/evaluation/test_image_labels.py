import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.evaluation import read_image_labels, with_verified_classes
from tests.builders.evaluation_scenes import truth_graph

CLASSES = ["/m/04bcr3", "/m/01mzpv", "/m/03bt1vf"]


def label_file(folder: Path, *lines: str, header: str = "ImageID,LabelName,Confidence") -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_verified_presence_and_absence_count_and_unknown_labels_do_not(tmp_path: Path) -> None:
    path = label_file(
        tmp_path,
        "a,verification,/m/03bt1vf,1",
        "b,verification,/m/unknown,1",
        "a,crowdsource,/m/04bcr3,0",
        "c,verification,/m/01mzpv,0.0",
        "a,verification,/m/03bt1vf,1.0",
        header="ImageID,Source,LabelName,Confidence",
    )
    labels = read_image_labels(path, CLASSES)
    assert {image_id: classes.tolist() for image_id, classes in labels.items()} == {"a": [0, 2], "c": [1]}
    assert labels["a"].dtype == np.int64


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([*CLASSES, "/m/else"]), st.sampled_from("01")),
        min_size=1,
    ),
    st.permutations([0, 1, 2]),
)
def test_every_known_label_counts_once_in_any_order(tmp_path: Path, rows: list, order: list[int]) -> None:
    names = ("ImageID", "LabelName", "Confidence")
    lines = [",".join(row[i] for i in order) for row in [("a", CLASSES[0], "1"), *rows]]
    random.Random(0).shuffle(lines)
    path = label_file(tmp_path, *lines, header=",".join(names[i] for i in order))
    expected: dict[str, set[int]] = {"a": {0}}
    for image_id, label, _ in rows:
        if label in CLASSES:
            expected.setdefault(image_id, set()).add(CLASSES.index(label))
    found = read_image_labels(path, CLASSES)
    assert {image_id: classes.tolist() for image_id, classes in found.items()} == {
        image_id: sorted(classes) for image_id, classes in expected.items()
    }


@pytest.mark.parametrize("confidence", ["0.7", "2", "", "yes", "nan", "-1"])
def test_a_confidence_that_nobody_verified_is_refused(tmp_path: Path, confidence: str) -> None:
    path = label_file(tmp_path, "a,/m/04bcr3,1", f"b,/m/unknown,{confidence}")
    with pytest.raises(
        ValueError, match=f"^{path}: line 3, image b: Confidence of /m/unknown is '{confidence}'"
    ):
        read_image_labels(path, CLASSES)


def test_a_line_with_a_missing_field_is_named(tmp_path: Path) -> None:
    path = label_file(tmp_path, "a,/m/04bcr3,1", "b,/m/04bcr3")
    with pytest.raises(ValueError, match=f"^{path}: line 3, image b: 2 fields, but the header has 3"):
        read_image_labels(path, CLASSES)


@pytest.mark.parametrize("line", [",/m/04bcr3,1", "b,,1"])
def test_an_empty_field_is_named(tmp_path: Path, line: str) -> None:
    path = label_file(tmp_path, "a,/m/04bcr3,1", line)
    with pytest.raises(ValueError, match=f"^{path}: line 3: ImageID or LabelName is missing"):
        read_image_labels(path, CLASSES)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = label_file(tmp_path, "a,/m/04bcr3", header="ImageID,LabelName")
    with pytest.raises(ValueError, match=f"^{path}: line 1 has no column Confidence"):
        read_image_labels(path, CLASSES)


@pytest.mark.parametrize("lines", [(), ("a,Table,1", "b,Ball,0")])
def test_a_file_without_a_known_label_is_refused(tmp_path: Path, lines: tuple[str, ...]) -> None:
    path = label_file(tmp_path, *lines)
    with pytest.raises(
        ValueError, match=f"^{path}: no line has a label of the data set .*/m/04bcr3, /m/01mzpv"
    ):
        read_image_labels(path, CLASSES)


def test_a_repeated_class_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="label '/m/04bcr3' is repeated"):
        read_image_labels(label_file(tmp_path, "a,/m/04bcr3,1"), [*CLASSES, "/m/04bcr3"])


def test_annotations_get_the_classes_of_their_image() -> None:
    truths = {
        image_id: truth_graph([(0, 0, 9, 9)], [i], [(0, 0, i)]) for i, image_id in enumerate(("a", "b"))
    }
    joined = with_verified_classes(truths, {"b": np.array([0, 2]), "other": np.array([1])})
    assert list(joined) == ["a", "b"]
    assert joined["b"].verified_classes.tolist() == [0, 2] and joined["a"].verified_classes.tolist() == []
    assert joined["b"].relations is truths["b"].relations
    assert truths["b"].verified_classes.tolist() == []
    again = with_verified_classes(joined, {"a": np.array([1])})
    assert again["b"].verified_classes.tolist() == [0, 2]


def test_labels_of_other_images_are_refused() -> None:
    truths = {"a": truth_graph([], [], [])}
    with pytest.raises(
        ValueError, match=r"no image of the image labels \(x, ...\) is in the data set \(a, ...\)"
    ):
        with_verified_classes(truths, {"x": np.array([0])})
    with pytest.raises(ValueError, match=r"no image of the image labels \(none, ...\)"):
        with_verified_classes(truths, {})
