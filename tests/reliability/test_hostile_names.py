"""Names of other people, which would act as markup, formulas or commands, in all that the package writes."""

import csv
import json
import logging
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances
from markdown_it import MarkdownIt
from PIL import Image

from reldn_d2.ablation.report import as_markdown
from reldn_d2.ablation.tables import read_table
from reldn_d2.engine import Request
from reldn_d2.engine.console import setup_run_log
from reldn_d2.engine.summary import Summary
from reldn_d2.evaluation import ProtocolResult, read_submission, write_submission
from reldn_d2.evaluation.io.results import read_results, save_results
from reldn_d2.utils.plain_text import from_csv, short, visible
from reldn_d2.visualization import (
    Report,
    SceneGraph,
    bars_svg,
    build_scene_graph,
    curves_svg,
    draw_scene_graph,
    scene_graph_svg,
    side_by_side,
)
from tests.builders.browsers import find_browser, open_page
from tests.builders.commands import Captured, run_reldn
from tests.builders.evaluation_scenes import predicted_graph
from tests.builders.fake_predictor import FakePredictor
from tests.builders.hostile_names import HOSTILE, ORDINARY
from tests.builders.own_data import small_party, write_data_file
from tests.builders.tiny_models import TinyConfig

NAMES = [*HOSTILE, *ORDINARY]
# Names that Linux takes for a picture and that stay inside its folder.
FILE_NAMES = [name for name in NAMES if not re.search(r"[/\\\0]", name) and 0 < len(name) < 200]
FORMULA = tuple("=+-@\t\r＝＋－＠")
TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "section",
        "h1",
        "h2",
        "h3",
        "p",
        "ul",
        "li",
        "span",
    ),
    *(
        "div",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "figure",
        "img",
        "figcaption",
        "pre",
        "code",
    ),
    *("svg", "metadata", "g", "path", "text", "tspan"),
}
ATTRIBUTES = {
    *(
        "lang",
        "charset",
        "name",
        "http-equiv",
        "content",
        "class",
        "style",
        "scope",
        "src",
        "alt",
        "width",
        "height",
    ),
    *("xmlns", "viewbox", "role", "aria-label", "fill", "d", "transform", "x", "y"),
}


class Page(HTMLParser):
    """A page as a browser reads it: its texts, and every tag and attribute that could act."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.acting: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.acting += [tag] * (tag not in TAGS)
        for name, value in attrs:
            self.attributes.append((name, value or ""))
            embedded = name != "src" or (value or "").startswith("data:image/")
            if name not in ATTRIBUTES or not embedded:
                self.acting.append(f"{tag} {name}={value!r:.80}")

    handle_startendtag = handle_starttag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def steers(text: str) -> list[str]:
    """Characters of a text that a terminal or a reader would follow."""
    return re.findall(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]",
        text,
    )


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data whose classes, predicates and pictures all have such names; returns the data file."""
    folder = tmp_path_factory.mktemp("party")
    small_party(folder)
    content = json.loads((folder / "train.json").read_text())
    content["categories"] = [{"id": i, "name": name} for i, name in enumerate(NAMES, 1)]
    content["predicates"] = [{"id": i, "name": f"{name} of"} for i, name in enumerate(NAMES, 1)]
    pixels = Image.open(folder / "images" / content["images"][0]["file_name"])
    size = {key: content["images"][0][key] for key in ("width", "height")}
    box = content["annotations"][0]["bbox"]
    content |= {"images": [], "annotations": [], "relations": []}
    for i, name in enumerate(FILE_NAMES, 1):
        pixels.save(folder / "images" / f"{name}.png")
        content["images"].append({"id": f"{name}", "file_name": f"{name}.png", **size})
        for k in (0, 1):
            category = (i + k) % len(NAMES) + 1
            content["annotations"].append(
                {"id": 2 * i + k, "image_id": name, "category_id": category, "bbox": [box[0] + k, *box[1:]]}
            )
        content["relations"].append(
            {"subject_id": 2 * i, "object_id": 2 * i + 1, "predicate_id": (i - 1) % len(NAMES) + 1}
        )
    # An image whose relationship is there twice is a problem, which the report quotes.
    content["relations"] += content["relations"][:5]
    (folder / "train.json").write_text(json.dumps(content))
    return write_data_file(folder, "<b>\x1b[2J", train={"annotations": "train.json", "images": "images"})


@pytest.fixture(scope="module")
def checked(party: Path) -> Path:
    """The page of `reldn check`."""
    page = party.with_name("page.html")
    assert run_reldn("check", "--data", party, "--html", page, "--samples", 8) == 0
    return page


@pytest.fixture(scope="module")
def full_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with each part that a report can have, and with every kind of drawing."""
    photo = np.full((90, 80, 3), 128, dtype=np.uint8)
    curve = {0: 1.0, 10: 0.5}
    report = Report(NAMES[0])
    for name in NAMES:
        report.heading(name).subheading(name).note(name).paragraph(name).code(name)
        report.legend([(["#aabbcc"], name)])
        report.table([{name: name, "number": 1.0}], caption=name, footnotes=[name])
        report.pictures([(photo, name)])
    report.pictures([(scene_graph_svg(graph), "") for graph in graphs_of(NAMES)])
    report.pictures([(curves_svg(dict.fromkeys(NAMES, curve), y_label=NAMES[12]), "")])
    report.pictures([(bars_svg([(name, 3) for name in NAMES]), "")])
    page = tmp_path_factory.mktemp("report") / "page.html"
    report.write(page)
    return page


def graphs_of(names: list[str]) -> Iterator[SceneGraph]:
    """Graphs of ten entities and relationships each."""
    for first in range(0, len(names), 10):
        chosen = names[first : first + 10]
        boxes = [[float(i), 0.0, 50.0 + i, 90.0] for i in range(len(chosen))]
        triplets = [(i, (i + 1) % len(chosen), name) for i, name in enumerate(chosen)]
        yield build_scene_graph({"file_name": names[0], "width": 80, "height": 90}, chosen, boxes, triplets)


@pytest.mark.parametrize("page", ["checked", "full_report"])
def test_pages_hold_names_as_text_only(page: str, request: pytest.FixtureRequest) -> None:
    html = request.getfixturevalue(page).read_text()
    found = Page(html)
    assert found.acting == [] and steers(html) == []
    assert any(value.startswith("default-src 'none'; img-src data:") for _, value in found.attributes)
    text = "".join([*found.texts, *(value for _, value in found.attributes)])
    for name in NAMES:
        assert visible(name) in text or short(name) in text or _in_code(name) in text


def _in_code(name: str) -> str:
    """A part with code keeps line breaks and tabs of its lines."""
    return "\n".join(map(visible, name.split("\n")))


def test_the_browser_of_the_next_test_runs_scripts_and_fetches(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        "<title>start</title><script>document.title = 'ran'</script><img src='http://example.invalid/a.png'>"
        "<a id=x href='javascript:1'></a>"
    )
    opened = open_page(browser(), page, tmp_path / "profile")
    assert "<title>ran</title>" in opened.html and opened.fetched == ["http://example.invalid/a.png"]


def browser() -> str:
    found = find_browser()
    if found is None:
        pytest.skip("there is no Chromium on the path; `make browser` installs one")
    return found


@pytest.mark.parametrize("page", ["checked", "full_report"])
def test_a_browser_runs_and_fetches_nothing(
    page: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = request.getfixturevalue(page)
    program = browser()
    opened = open_page(program, path, tmp_path / "profile")
    assert opened.fetched == []
    before, after = Page(path.read_text()), Page(opened.html)
    assert after.acting == []
    # Nothing was added, removed or replaced: the title and all texts are those of the file.
    assert "".join("".join(after.texts).split()) == "".join("".join(before.texts).split())


def test_the_screen_shows_names_as_text(party: Path, capsys: Captured) -> None:
    capsys.readouterr()
    assert run_reldn("check", "--data", party, "--images", "skip") == 0
    printed = capsys.readouterr()
    assert steers(printed.out + printed.err) == []
    for name in NAMES:
        assert short(name) in printed.out


def test_drawings_have_room_for_all_names(recwarn: pytest.WarningsRecorder) -> None:
    photo = np.full((90, 80, 3), 128, dtype=np.uint8)
    for graph in graphs_of([*HOSTILE][20:]):
        # What is too long for the picture is listed below it.
        drawing = draw_scene_graph(photo, graph, min_side=90)
        assert drawing.shape[0] >= 90 and drawing.shape[1] >= 80
    assert side_by_side([photo] * 2, ["\x1b[2J$\\frac{1}$", "a\nb"]).shape[2] == 3
    # Matplotlib's own font lacks letters of some languages.
    assert not [
        w
        for w in recwarn.list
        if not re.match(r"Glyph \d+ .*(CJK|HANGUL|FULLWIDTH|WOMAN|COOKING|JOINER)", str(w.message))
    ]


def rows_of(tokens: list[Any]) -> list[list[str]]:
    """The cells of all tables."""
    rows: list[list[str]] = []
    for before, token in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif before.type in ("th_open", "td_open"):
            rows[-1].append(token.content)
    return rows


@pytest.mark.parametrize("dataset_name", ["</title>|`<b>", "cup\udcff"])
def test_results_hold_names_as_text_only(tmp_path: Path, dataset_name: str) -> None:
    counts = np.arange(len(NAMES), 0, -1)
    metrics = {"R@50": 1.5, **{f"AP/{name}": 2.5 for name in NAMES}, **dict.fromkeys(NAMES, 3.5)}
    result = ProtocolResult(metrics, {}, {"annotated": counts, "R@50": counts / 2})
    save_results(
        tmp_path, {"motifs": result}, dataset_name=dataset_name, task="sgdet", predicate_classes=NAMES
    )
    assert read_results(tmp_path / "relation_results.csv") == {"motifs": metrics}
    with (tmp_path / "relation_predicates.csv").open(newline="") as file:
        rows = [*csv.reader(file)][1:]
    assert [from_csv(row[1]) for row in rows] == NAMES * 2
    assert not [field for row in rows for field in row if field.lstrip().startswith(FORMULA)]
    for document in ("relation_results.md", "relation_predicates.md"):
        text = (tmp_path / document).read_text()
        tokens = MarkdownIt("gfm-like").parse(text)
        kinds = {t.type for token in tokens for t in (token, *(token.children or ()))}
        assert not kinds & {
            "link_open",
            "html_inline",
            "html_block",
            "image",
            "em_open",
            "strong_close",
            "fence",
        } - {"strong_close"}
        assert kinds & {"table_open"} and steers(text) == []
        rows_of_table = text.count("\n| ") - text.count("\n|:")
        assert sum(token.type == "tr_open" for token in tokens) >= len(NAMES) > 0 < rows_of_table


def test_submissions_are_read_back_and_run_nowhere(tmp_path: Path) -> None:
    sizes = dict.fromkeys(NAMES, (10, 20))
    boxes, count = [(0.0, 1.0, 10.0, 9.0), (5.0, 0.0, 20.0, 10.0)], len(NAMES)
    graphs = {
        name: predicted_graph(boxes, [i, (i + 1) % count], [(0, 1, i, 0.5, 1)])
        for i, name in enumerate(NAMES)
    }
    path = tmp_path / "s.csv"
    write_submission(path, graphs, sizes, class_labels=NAMES, predicate_labels=NAMES)
    found = read_submission(path, sizes, class_labels=NAMES, predicate_labels=NAMES)
    for name, graph in graphs.items():
        assert sorted(found[name].classes.tolist()) == sorted(graph.classes.tolist())
        assert found[name].relations.predicate.tolist() == graph.relations.predicate.tolist()
    with path.open(newline="") as file:
        rows = [*csv.reader(file)]
    assert len(rows) == len(NAMES) + 1
    assert not [field for row in rows for field in row if field.lstrip().startswith(FORMULA)]
    # Labels without spaces, in the form with one line for an image.
    labels = [name for name in NAMES if len(name.split()) == 1]
    graphs = {name: predicted_graph(boxes, [0, 1], [(0, 1, 2, 0.5, 1)]) for name in NAMES}
    write_submission(path, graphs, sizes, class_labels=labels, predicate_labels=labels, kaggle=True)
    found = read_submission(path, sizes, class_labels=labels, predicate_labels=labels)
    assert all(found[name].relations.predicate.tolist() == [2] for name in NAMES)
    # The form of other tools, which write names as they are.
    path.write_text(path.read_text().replace("'=1+1", "=1+1"))
    assert read_submission(path, sizes, class_labels=labels, predicate_labels=labels).keys() == sizes.keys()


class Predictor(FakePredictor):
    """Finds one entity of each class, and one relationship of each predicate."""

    thing_classes = predicate_classes = tuple(NAMES)
    configs, seen = [], []

    def find(self, image: np.ndarray, request: Request) -> tuple[dict[str, Any], int]:
        entities, relations = Instances(image.shape[:2]), Instances(image.shape[:2])
        count = len(NAMES)
        entities.pred_boxes = Boxes(torch.tensor([[0.0, 0, 20, 20]]).repeat(count, 1))
        entities.scores, entities.pred_classes = torch.full((count,), 0.5), torch.arange(count)
        relations.subject_index, relations.object_index = torch.arange(count), torch.arange(count).roll(1)
        relations.pred_predicates, relations.scores = torch.arange(count), torch.full((count,), 0.5)
        relations.rank_in_pair = torch.ones(count, dtype=torch.int64)
        return {"instances": entities, "relations": relations, "task": "sgdet"}, 0


def test_predictions_of_files_with_such_names(
    tmp_path: Path, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("reldn_d2.cli.predict.RelationPredictor", Predictor)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(tiny_config().dump())
    (tmp_path / "run" / "model_final.pth").write_text("")
    images = tmp_path / "images"
    images.mkdir()
    listed = [*FILE_NAMES[::20], "n" * 250, "컵" * 80, "..", "\x1b[31m"]
    for name in listed:
        Image.new("RGB", (30, 20)).save(images / f"{name}.png", format="PNG")
    (images / "\r\x1b[2Kbroken.jpg").write_text("<html>")
    visible_names = [name for name in listed if not name.startswith(".")]
    output = tmp_path / "out"
    words = ("--weights", tmp_path / "run", "--output", output, "--top-k", "100")
    formats = ("--format", "json", "drawings", "jsonl", "csv", "parquet")
    assert run_reldn("predict", "--input", images, *words, *formats) == 1
    printed = capsys.readouterr()
    assert steers(printed.out + printed.err) == [] and r"\r\x1b[2Kbroken.jpg cannot be read" in printed.err
    graphs = [json.loads(path.read_text()) for path in output.glob("*.json")]
    expected = sorted(f"{name}.png" for name in visible_names)
    assert sorted(graph["image"]["file_name"] for graph in graphs) == expected
    lines = [json.loads(line) for line in (output / "graphs.jsonl").read_text().split("\n")[:-1]]
    assert sorted(graph["image"]["file_name"] for graph in lines) == expected
    with (output / "triplets.csv").open(newline="") as file:
        rows = [*csv.reader(file)][1:]
    assert {from_csv(row[0]) for row in rows} == {*expected}
    assert {from_csv(row[2]) for row in rows} == {*NAMES}
    assert not [field for row in rows for field in row if field.lstrip().startswith(FORMULA)]
    table = pq.read_table(output / "triplets.parquet")
    assert table.num_rows == len(rows) == len(expected) * len(NAMES)
    others = {"graphs.jsonl", "triplets.csv", "triplets.parquet", "failures.csv", "record"}
    assert len({path.name for path in output.iterdir()} - others) == 2 * len(expected)
    assert {*tmp_path.iterdir()} == {tmp_path / "run", images, output}


def test_errors_show_names_as_text(party: Path, tmp_path: Path, capsys: Captured) -> None:
    content = json.loads((party.parent / "train.json").read_text())
    content["relations"][0]["predicate_id"] = "\x1b]0;title\x07\u202e"
    (tmp_path / "\x1b[2J.json").write_text(json.dumps(content))
    assert run_reldn("check", "--annotations", tmp_path / "\x1b[2J.json", "--image-root", tmp_path) == 1
    assert run_reldn("check", "--data", tmp_path / "\x1b[2J.yaml") == 2
    printed = capsys.readouterr()
    assert steers(printed.out + printed.err) == [] and r"\x1b[2J.yaml" in printed.err


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "a\u202eb", "cup \udcff"])
def test_the_log_of_a_run_shows_names_as_text(tmp_path: Path, capsys: Captured, text: str) -> None:
    setup_run_log(str(tmp_path))
    logging.getLogger("reldn_d2").warning("The class %s has no image.\n  next line", text)
    logged = (tmp_path / "log.txt").read_text()
    for shown in (capsys.readouterr().out, logged):
        assert f"The class {visible(text)} has no image.\n  next line\n" in shown


def test_summaries_hold_names_as_text_only() -> None:
    results = {"</title>/sgdet/motifs": {"R@50": 1.5}}
    summary = Summary(
        "Finished: <b>`|", ["[x](javascript:y)", "cup\udcff"], {}, results, {"weights": "a|b/<b>.pth"}
    )
    table = read_table(1, None, None)
    report = as_markdown(
        table, [], {"<b>`": "trained on [x](javascript:y), tested on http://example.invalid/"}
    )
    for text in (summary.as_markdown(), report):
        tokens = MarkdownIt("gfm-like").parse(text)
        kinds = {t.type for token in tokens for t in (token, *(token.children or ()))}
        assert not kinds & {"link_open", "image", "html_inline", "html_block"} and text.encode()
    assert rows_of(MarkdownIt("gfm-like").parse(summary.as_markdown()))[-1] == ["weights", "`a|b/<b>.pth`"]


def test_names_in_metadata_stay_exact(party: Path) -> None:
    assert run_reldn("check", "--data", party, "--images", "skip", "--output", party.with_name("o.json")) == 0
    (report,) = json.loads(party.with_name("o.json").read_text())["data_sets"]
    assert {x["name"] for x in report["entity_classes"]} == {*NAMES}
    assert MetadataCatalog.get(report["name"]).thing_classes == NAMES
