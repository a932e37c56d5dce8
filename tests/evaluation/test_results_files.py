"""Tables and files of results: every number is in its place, and none is lost."""

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.evaluation import (
    PROTOCOLS,
    ConfusionProtocol,
    PerImageRecall,
    PredictedGraph,
    ProtocolResult,
    TrainingSplit,
    TripletAnswers,
    motifs,
    openimages,
    reldn,
    training_split,
)
from reldn_d2.evaluation.io.results import (
    EXCLUDED_FILE,
    PER_IMAGE_FILE,
    PREDICATE_TABLES_FILE,
    PREDICATES_FILE,
    RESULTS_FILE,
    TABLES_FILE,
    read_results,
    remove_results,
    results_table,
    save_results,
    short_table,
)
from reldn_d2.evaluation.protocols.confusion import confusion_triplets
from reldn_d2.utils.plain_text import from_csv
from tests.builders.evaluation_scenes import NAMES, predicted_graph, score_images, truth_graph

A, B, C = (0, 0, 9, 9), (20, 0, 29, 9), (20, 20, 29, 29)
# Two images; "near" (2) is not annotated.
TRUTHS = [truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 1)]), truth_graph([A, B, C], [0, 1, 1], [(0, 1, 0)])]
TRAINING = training_split([truth_graph([A, B], [0, 1], [(0, 1, 0), (0, 1, 2), (0, 1, 2)])], 2, 3)


def prediction(image: int) -> PredictedGraph:
    truth = TRUTHS[image]
    rows = [(0, 1, 1, 0.9, 1), (0, 1, 0, 0.8, 2)]
    graph = predicted_graph(truth.boxes, truth.classes, rows)
    asked = confusion_triplets(truth)
    scores = np.linspace(0.9, 0.1, len(asked)).astype(np.float32)
    detected = np.ones(len(asked), dtype=np.bool_)
    named = TripletAnswers(*asked.T, scores, detected)
    return PredictedGraph(graph.boxes, graph.classes, graph.scores, graph.relations, None, named)


def result_of(protocol: object, training: TrainingSplit | None = TRAINING) -> ProtocolResult:
    images = [(truth, prediction(i)) for i, truth in enumerate(TRUTHS)]
    return score_images(protocol, images, training=training)


def read_tables(text: str) -> list[list[list[str]]]:
    """Cells of every Markdown table, header first."""
    tables = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
        rows = [[cell.strip().replace("\\|", "|") for cell in line] for line in lines]
        tables.append([rows[0], *rows[2:]])
    return tables


def cells_of(text: str) -> dict[tuple[str, str], str]:
    """(row, column) -> cell of all tables together; no cell comes twice."""
    cells = {}
    for header, *rows in read_tables(text):
        for row in rows:
            assert len(row) == len(header)
            for column, cell in zip(header[1:], row[1:], strict=True):
                assert (row[0], column) not in cells
                cells[row[0], column] = cell
    return cells


def test_table_shows_every_number() -> None:
    metrics = {"R@20": 1.25, "R@50": 2.5, "ngR@50": 3.75, "mAP_rel": 4.5, "AP_rel/at": 5.0}
    assert cells_of(results_table(ProtocolResult(metrics, {}), [])) == {
        ("R@K", "K=20"): "1.25",
        ("R@K", "K=50"): "2.50",
        ("ngR@K", "K=20"): "",
        ("ngR@K", "K=50"): "3.75",
        ("mAP_rel", "%"): "4.50",
        ("AP_rel/at", "%"): "5.00",
    }


def place(metric: str) -> tuple[str, str]:
    """Row and column in which a reader expects a metric."""
    if "/" in metric:
        column, predicate = metric.split("/")
        return predicate, column
    if metric.endswith("_starred"):
        return metric[: -len("_starred")], "% starred"
    if "@" not in metric:
        return metric, "%"
    for k in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20):
        if f"_k{k}_" in metric:
            return str(k), metric.replace(f"_k{k}_", "_k_")
    name, at = metric.split("@")
    return f"{name}@K", f"K={at}"


def two_decimals(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_metric_of_every_protocol_is_in_its_place(name: str, complete: bool) -> None:
    protocol = openimages(("by", "has")) if name == "openimages" else PROTOCOLS[name]()
    result = result_of(protocol)
    cells = cells_of(results_table(result, NAMES, complete=complete))
    unlisted = {"near"}  # not annotated, so its average precision is in no table
    for metric, value in result.metrics.items():
        row, column = place(metric)
        assert row in unlisted or cells.pop((row, column)) == two_decimals(value), metric
    # Only the columns of predicates remain.
    assert {column for _, column in cells} <= result.per_predicate.keys()


def test_recall_in_many_lists_has_a_row_for_every_k() -> None:
    *tables, predicates = read_tables(results_table(result_of(reldn((1, 2))), NAMES))
    recalls = [f"pooled_{kind}_k{k}_R@50" for kind in ("rel", "phr") for k in (1, 2)]
    assert predicates[0] == ["predicate", "annotated", "in training", *recalls]
    assert [table[0] for table in tables] == [
        ["k", *(f"{average}{kind}_k_{recall}@{at}" for kind in ("rel", "phr") for at in (20, 50, 100))]
        for average, recall in (
            *(("", "R"), ("macro_", "R"), ("", "zR"), ("macro_", "zR")),
            # The head is the predicate that is not annotated.
            *(("pooled_", mean) for mean in ("mR_all", "mR", "mR_body", "mR_tail")),
            ("", "P"),
        )
    ]
    assert [row[0] for row in tables[0][1:]] == ["1", "2"]
    # The first triplet of each image is "has": one of three relationships, or one of two in the first image.
    assert tables[0][1][1] == "33.33" and tables[1][1][1] == "25.00"
    assert tables[0][2][1] == "100.00"


def test_predicates_are_ordered_by_how_often_they_are_annotated() -> None:
    columns = {"annotated": np.array([2, 0, 7, 2, 0]), "AP_rel": np.array([1.0, np.nan, 2.0, 3.0, np.nan])}
    text = results_table(ProtocolResult({}, {}, columns), ["on", "by", "in", "at", "hits"])
    assert read_tables(text) == [
        [["predicate", "annotated", "AP_rel"], ["in", "7", "2.00"], ["at", "2", "3.00"], ["on", "2", "1.00"]]
    ]
    assert text.endswith("\n\nPredicates not listed (annotated: 0): 2.")


def test_predicates_with_a_confusable_case_of_either_kind_are_listed() -> None:
    columns = {
        "instance cases": np.array([1, 0, 0]),
        "entity_instance_right": np.array([50.0, np.nan, np.nan]),
        "proximity cases": np.array([0, 2, 0]),
        "proximal_right": np.array([np.nan, 0.0, np.nan]),
    }
    text = results_table(ProtocolResult({}, {}, columns), NAMES)
    assert read_tables(text)[0][1:] == [["has", "0", "-", "2", "0.00"], ["on", "1", "50.00", "0", "-"]]
    assert "Predicates not listed (instance cases, proximity cases: 0): 1." in text


def test_the_log_shows_one_k_of_predicates_and_the_file_all() -> None:
    result = result_of(motifs())
    *_, short = read_tables(results_table(result, NAMES))
    *_, long = read_tables(results_table(result, NAMES, complete=True))
    counts = ["predicate", "annotated", "in training"]
    assert short[0] == [*counts, "R@50", "pooled_R@50", "ngR@50", "pooled_ngR@50"]
    assert long[0] == ["predicate", *result.per_predicate]
    # "in training" alone lists no predicate: "near" is trained but not annotated.
    assert [row[:3] for row in long[1:]] == [["on", "2", "1"], ["has", "1", "0"]]


def test_all_predicates_are_listed_where_nothing_is_counted() -> None:
    table = results_table(ProtocolResult({}, {}, {"gain": np.array([1.0, -2.0, np.nan])}), NAMES)
    assert read_tables(table)[0][1:] == [["has", "-2.00"], ["near", "-"], ["on", "1.00"]]


def test_notes_come_last_and_absent_parts_leave_no_trace() -> None:
    result = ProtocolResult({"R@50": 1.0}, {}, {}, ["One note.", "Another note."])
    blocks = results_table(result, NAMES).split("\n\n")
    assert blocks[1:] == ["One note.", "Another note."] and blocks[0].startswith("|")
    assert results_table(ProtocolResult({}, {}), NAMES) == ""
    nothing = ProtocolResult({}, {}, {"annotated": np.zeros(3, dtype=np.int64)})
    assert results_table(nothing, NAMES) == "Predicates not listed (annotated: 0): 3."


def test_strange_names_stay_as_they_are_or_become_code() -> None:
    names = ["a|b", "1e5", "007"]
    result = ProtocolResult({"AP/a|b": 1.0}, {}, {"annotated": np.array([3, 2, 1])})
    first, second = read_tables(results_table(result, names))
    assert first[1] == ["`AP/a|b`", "1.00"]
    assert [row[0] for row in second[1:]] == ["`a|b`", "1e5", "007"]


def test_no_note_about_missing_predicates_if_all_are_listed() -> None:
    table = results_table(ProtocolResult({}, {}, {"annotated": np.array([3, 2, 1])}), NAMES)
    assert "not listed" not in table


def save(folder: Path, results: dict[str, ProtocolResult], names: list[str] = NAMES) -> None:
    save_results(folder, results, dataset_name="toy", task="sgdet", predicate_classes=names)


def test_images_that_are_not_scored_have_a_file_of_their_own(tmp_path: Path) -> None:
    excluded = ProtocolResult(
        {"x": 1.0}, {}, notes=["2 images are not scored."], excluded="2 images are not scored."
    )
    save(tmp_path, {"motifs": ProtocolResult({"R@50": 1.0}, {}), "confusion": excluded})
    file = tmp_path / EXCLUDED_FILE
    assert json.loads(file.read_text()) == {"confusion": "2 images are not scored."}
    save(tmp_path, {"motifs": ProtocolResult({"R@50": 1.0}, {})})
    assert not file.exists()
    file.touch()
    remove_results(tmp_path)
    assert not [*tmp_path.iterdir()]


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return [[*map(from_csv, row)] for row in csv.reader(file)]


def test_files_hold_all_protocols(tmp_path: Path) -> None:
    results = {"motifs": result_of(motifs()), "confusion": result_of(ConfusionProtocol())}
    folder = tmp_path / "new" / "folder"
    save(folder, results)
    assert {path.name for path in folder.iterdir()} == {
        *(TABLES_FILE, RESULTS_FILE, PREDICATE_TABLES_FILE, PREDICATES_FILE, PER_IMAGE_FILE)
    }
    text = (folder / TABLES_FILE).read_text()
    headline = results["motifs"].metrics["R@50"]
    assert text.startswith(f"# Relationships in toy, sgdet\n\n**R@50 of motifs: {headline:.2f}**\n\n")
    assert read_sections(text) == {name: short_table(result) for name, result in results.items()}
    text = (folder / PREDICATE_TABLES_FILE).read_text()
    assert text.startswith("# Predicates in toy, sgdet\n\n")
    for name, section in read_sections(text).items():
        assert section in results_table(results[name], NAMES, complete=True)
        assert len(read_tables(section)) == 1
    assert [*read_sections(text)] == ["motifs", "confusion"]

    header, *rows = read_csv(folder / RESULTS_FILE)
    facts = ["task", "pairs", "constraint", "k", "average", "predicates", "images", "relationships"]
    assert header == ["protocol", "metric", "value", *facts]
    assert [row[:3] for row in rows] == [
        [name, metric, repr(value)]
        for name, result in results.items()
        for metric, value in result.metrics.items()
    ]
    assert not any(row[1].startswith("proximal") for row in rows)  # there is no such case

    header, *rows = read_csv(folder / PREDICATES_FILE)
    assert header == ["protocol", "predicate", "column", "value", *facts[:5]]
    found = {tuple(row[:3]): row[3] for row in rows}
    assert len(found) == len(rows) == sum(3 * len(x.per_predicate) for x in results.values())
    assert found["motifs", "on", "annotated"] == "2" and found["motifs", "near", "in training"] == "2"
    assert found["motifs", "near", "R@50"] == ""
    assert float(found["motifs", "has", "pooled_R@50"]) == 100.0

    counts = json.loads((folder / PER_IMAGE_FILE).read_text())
    assert (counts["dataset_name"], counts["task"]) == ("toy", "sgdet")
    assert [*counts["counts"]] == ["motifs", "motifs_zero_shot", "confusion_instance", "confusion_proximity"]


def read_sections(text: str) -> dict[str, str]:
    """Heading -> text below it."""
    _, *sections = re.split(r"^## (.*)\n\n", text, flags=re.MULTILINE)
    return dict(zip(sections[::2], [section.strip() for section in sections[1::2]], strict=True))


def test_a_short_table_has_what_people_read() -> None:
    """One table, without second averages, undefined numbers and numbers of single predicates."""
    (table,) = read_tables(short_table(result_of(motifs())))
    assert table[0] == ["", "K=20", "K=50", "K=100"]
    rows = [row[0] for row in table[1:]]
    assert {"R@K", "ngR@K", "zR@K", "mR_all@K", "mR@K", "mR_body@K", "F@K", "ngF@K", "P@K"} <= {*rows}
    assert rows.index("mR_all@K") < rows.index("mR@K")
    assert not any(name.startswith(("micro", "macro", "pooled")) for name in rows)
    (table,) = read_tables(short_table(result_of(motifs(), training=None)))
    assert "zR@K" not in [row[0] for row in table[1:]]

    (table,) = read_tables(short_table(result_of(reldn((1, 9)))))
    recalls = [f"{kind}_k_R@{k}" for kind in ("rel", "phr") for k in (20, 50, 100)]
    assert table[0] == ["k", *recalls, "rel_k_zR@50", "phr_k_zR@50"]
    assert [row[0] for row in table[1:]] == ["1", "9"]

    result = result_of(openimages(("near",)))
    (table,) = read_tables(short_table(result))
    numbers = dict(table[1:])
    assert numbers["score"] == two_decimals(result.metrics["score"])
    assert {"R@50", "score_starred", "mAP_rel"} <= {*numbers} and "AP_rel/on" not in numbers


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_short_table_is_one_table_without_repeats(name: str) -> None:
    result = result_of(PROTOCOLS[name]())
    text = short_table(result)
    assert len(read_tables(text)) == 1 and len(text.splitlines()) < 40
    for shown in cells_of(text).values():
        assert shown != "-"
    assert text.endswith("\n\n".join(result.notes))


def test_nothing_defined_has_no_table() -> None:
    assert short_table(ProtocolResult({"R@50": math.nan}, {}, {}, ["A note."])) == "A note."


NAME = st.text(st.characters() | st.sampled_from("=+-@';\\\t\r\n\x1b\u202e"))


@given(st.dictionaries(NAME, st.floats(0, 100) | st.just(math.nan), max_size=4))
def test_csv_files_keep_any_name_and_all_digits(
    tmp_path_factory: pytest.TempPathFactory, metrics: dict[str, float]
) -> None:
    folder = tmp_path_factory.mktemp("results")
    columns = {"AP": np.array([*metrics.values()], dtype=np.float64)}
    save(folder, {"a, b": ProtocolResult(metrics, {}, columns)}, [*metrics])
    values = ["" if math.isnan(value) else repr(value) for value in metrics.values()]
    rows = [["a, b", name, value] for name, value in zip(metrics, values, strict=True)]
    # A protocol of another project says nothing about its numbers.
    assert read_csv(folder / RESULTS_FILE)[1:] == [[*row, *[""] * 8] for row in rows if row[2]]
    expected = [[*row[:2], "AP", row[2], *[""] * 5] for row in rows]
    assert read_csv(folder / PREDICATES_FILE)[1:] == expected


def test_files_of_an_earlier_evaluation_are_replaced(tmp_path: Path) -> None:
    counts = PerImageRecall(("1",), np.array([1]), {"R@50": np.array([1])})
    save(tmp_path, {"first": ProtocolResult({"R@50": 1.0}, {"first": counts}, {"n": np.array([1, 2, 3])})})
    save(tmp_path, {"second": ProtocolResult({"R@50": 2.0}, {"second": counts}, {"n": np.array([1, 2, 3])})})
    assert len(list(tmp_path.iterdir())) == 5
    for path in tmp_path.iterdir():
        text = path.read_text()
        assert "second" in text and "first" not in text


def test_a_file_that_can_not_be_made_leaves_the_old_one(tmp_path: Path) -> None:
    save(tmp_path, {"first": ProtocolResult({"R@50": 1.0}, {})})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError):
        save(tmp_path, {"second": ProtocolResult({}, {}, {"n": np.array([1, 2, 3, 4])})}, NAMES)
    assert (tmp_path / PREDICATES_FILE).read_bytes() == before[tmp_path / PREDICATES_FILE]
    assert {*tmp_path.iterdir()} == {*before}


def test_results_that_make_no_sense_are_named(tmp_path: Path) -> None:
    path = tmp_path / "relation_results.csv"
    for content, message in (
        ("", "the file is empty"),
        ("protocol,metric,value\nmotifs,R@50,12.", "the last line has no line break"),
        ("protocol,value\nmotifs,1\n", "line 1 has no column metric"),
        ("protocol,metric,value\nmotifs,R@50\n", "line 2, image motifs: 2 fields"),
        (
            "protocol,metric,value\nmotifs,R@50,x\n",
            "line 2: R@50 of motifs is 'x', which is no finite number",
        ),
        ("protocol,metric,value\nmotifs,R@50,nan\n", "is 'nan', which is no finite number"),
        ("protocol,metric,value\nmotifs,R@50,1e999\n", "which is no finite number"),
        ("protocol,metric,value\nmotifs,R@50,1\nmotifs,R@50,1\n", "line 3: R@50 of motifs is there twice"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message) as error:
            read_results(path)
        assert str(path) in str(error.value)
