"""`reldn predict`, with a predictor that needs no weights."""

import json
import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reldn_cli.commands.predict import FORMATS as NAMES_OF_FORMATS
from reldn_cli.commands.predict import MOST_RELATIONSHIPS
from reldn_d2.cli.prediction.formats import format_names
from reldn_d2.cli.prediction.names import output_names
from reldn_d2.engine import Prediction
from reldn_d2.scene_graphs import COMPLETE_UP_TO
from reldn_d2.utils.system_errors import explained
from tests.builders.commands import Captured, line_of_refusal, run_reldn, usage_error
from tests.builders.fake_predictor import FakePredictor
from tests.builders.tiny_models import REPOSITORY, TinyConfig


@pytest.fixture(autouse=True)
def configs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The configs that predictors were made with."""
    made: list[Any] = []
    monkeypatch.setattr(FakePredictor, "configs", made, raising=False)
    monkeypatch.setattr(FakePredictor, "seen", [], raising=False)
    monkeypatch.setattr("reldn_d2.cli.predict.RelationPredictor", FakePredictor)
    return made


@pytest.fixture
def weights(tmp_path: Path, tiny_config: TinyConfig) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(tiny_config("MODEL.DEVICE", "cuda").dump())
    (folder / "model.pth").write_text("")
    return folder / "model.pth"


def write_image(path: Path, value: int = 90, rows: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((rows, 60, 3), value, np.uint8))
    return path


def words_for(source: object, weights: Path, *more: object) -> list[object]:
    """The words of a command that writes to the folder `results`."""
    sources = source if isinstance(source, list) else [source]
    output = weights.parent.parent / "results"
    return ["predict", "--input", *sources, "--weights", weights, "--output", output, *more]


def run(source: object, weights: Path, *more: object) -> int:
    return run_reldn(*words_for(source, weights, *more))


def names(weights: Path) -> list[str]:
    """Names of the results, without the record of the run."""
    return sorted(
        path.name for path in (weights.parent.parent / "results").iterdir() if path.name != "record"
    )


def graphs(weights: Path) -> list[str]:
    return [name for name in names(weights) if name.endswith("json")]


def test_one_image(weights: Path, tmp_path: Path, configs: list[Any]) -> None:
    image = write_image(tmp_path / "in" / "a.jpg")
    assert run(image, weights, "--predicates-per-pair", "2", "--top-k", "2", "MODEL.DEVICE", "cpu") == 0
    assert names(weights) == ["a.json", "a.png"]
    graph = json.loads((tmp_path / "results" / "a.json").read_text())
    assert graph["image"] == {"file_name": "a.jpg", "width": 60, "height": 40}
    assert [r["predicate"] for r in graph["relationships"]] == ["next to", "feeds"]
    assert cv2.imread(str(tmp_path / "results" / "a.png")).shape == (533, 800, 3)
    (cfg,) = configs
    assert (
        cfg.MODEL.DEVICE == "cpu" and str(weights) == cfg.MODEL.WEIGHTS and cfg.MODEL.FPN.OUT_CHANNELS == 16
    )


def test_a_python_config_gets_the_weights_under_its_own_key(
    weights: Path, tmp_path: Path, configs: list[Any]
) -> None:
    config = REPOSITORY / "tests" / "builders" / "tiny_lazy.py"
    image = write_image(tmp_path / "in" / "a.jpg")
    assert run(image, weights, "--config-file", config, "train.device=cuda:1") == 0
    words = ("--config-file", config, "--device", "cpu", "--overwrite")
    assert run([image, "train.seed=5"], weights, *words) == 0
    assert [cfg.train.device for cfg in configs] == ["cuda:1", "cpu"]
    assert [cfg.train.init_checkpoint for cfg in configs] == [str(weights)] * 2
    assert configs[1].train.seed == 5


def test_the_folder_of_a_run_is_enough(weights: Path, tmp_path: Path, configs: list[Any]) -> None:
    final = weights.rename(weights.with_name("model_final.pth"))
    image = write_image(tmp_path / "in" / "a.jpg")
    assert run(image, weights.parent, "--device", "cpu", "--output", tmp_path / "results") == 0
    assert str(final) == configs[0].MODEL.WEIGHTS and configs[0].MODEL.DEVICE == "cpu"


def test_colours_keep_their_order(weights: Path, tmp_path: Path) -> None:
    blue = np.zeros((900, 900, 3), np.uint8)
    blue[..., 0] = 200
    cv2.imwrite(str(tmp_path / "blue.png"), blue)
    run(tmp_path / "blue.png", weights)
    drawing = cv2.imread(str(tmp_path / "results" / "blue.png"))
    assert (np.median(drawing, axis=(0, 1)) == [200, 0, 0]).all()


def test_a_folder_with_a_corrupt_image_is_finished(weights: Path, tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / "in"
    write_image(folder / "a.jpg")
    whole = write_image(folder / "b.png", 7).read_bytes()
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    (folder / "c.jpg").write_bytes(b"not an image")
    write_image(folder / "d.PNG")
    (folder / "notes.txt").write_text("not looked at")
    assert run(folder, weights) == 1
    assert names(weights) == ["a.json", "a.png", "d.json", "d.png", "failures.csv"]
    printed = capsys.readouterr()
    assert "2 of 4 images" in printed.out and str(tmp_path / "results") in printed.out
    assert f"{folder}: left out 1 .txt" in printed.out
    for name in ("b.png", "c.jpg"):
        assert re.search(rf"{name} cannot be read \(.+\): replace it, or take it out of --input", printed.err)


def test_an_image_that_the_model_refuses_does_not_stop_the_others(
    weights: Path, tmp_path: Path, capsys: Captured
) -> None:
    bad = write_image(tmp_path / "in" / "a.png", rows=13)
    write_image(tmp_path / "in" / "b.png")
    assert run(bad.parent, weights) == 1
    assert graphs(weights) == ["b.json"]
    printed = capsys.readouterr()
    assert "1 of 2 images" in printed.out
    assert printed.err == f"{bad} can't be used: 13 rows are bad luck\n"


def test_the_screen_shows_the_first_failures_and_the_file_all(
    weights: Path, tmp_path: Path, capsys: Captured
) -> None:
    for number in range(25):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number:02}.png").write_bytes(b"not an image")
    write_image(tmp_path / "in" / "z.png")
    assert run(tmp_path / "in", weights) == 1
    *shown, last = capsys.readouterr().err.splitlines()
    failures = tmp_path / "results" / "failures.csv"
    assert len(shown) == 20 and last == f"and 5 more, which {failures} lists"
    assert len(failures.read_text().splitlines()) == 1 + 25


def test_a_missing_permission_is_no_damage(
    weights: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write_image(tmp_path / "a.png")

    def refuse(path: str, image_format: str) -> None:
        raise explained(PermissionError(13, "Permission denied"), path)

    monkeypatch.setattr("tests.builders.fake_predictor.read_image", refuse)
    assert run(image, weights) == 1
    assert capsys.readouterr().err.startswith(f"{image} can't be read (Permission denied): give user ")


def test_files_and_folders_are_taken_in_order_and_once(
    weights: Path, tmp_path: Path, capsys: Captured
) -> None:
    one, two = write_image(tmp_path / "one" / "b.jpg"), write_image(tmp_path / "two" / "a.jpg")
    write_image(tmp_path / "two" / "c.jpg")
    assert run([one, two.parent, two, "MODEL.DEVICE", "cpu"], weights) == 0
    assert graphs(weights) == ["a.json", "b.json", "c.json"]
    printed = capsys.readouterr().out
    assert "3 of 3 images" in printed and "left out" not in printed


def test_images_of_one_stem_have_results_of_their_own(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("a.jpg", "a.png", "b.jpg"):
        write_image(folder / name)
    assert run(folder, weights) == 0
    # The image that shares its stem with no other keeps it.
    assert graphs(weights) == ["a.jpg.json", "a.png.json", "b.json"]
    graph = json.loads((tmp_path / "results" / "a.png.json").read_text())
    assert graph["image"]["file_name"] == "a.png"


def test_images_of_one_name_in_different_folders_have_results_of_their_own(
    weights: Path, tmp_path: Path
) -> None:
    images = [write_image(tmp_path / folder / "a.jpg") for folder in ("one", "two")]
    assert run([*images, write_image(tmp_path / "two" / "b.jpg")], weights) == 0
    found = graphs(weights)
    assert len(found) == 3 and "b.json" in found
    assert [name.split("_")[-2:] for name in found if name != "b.json"] == [
        ["one", "a.jpg.json"],
        ["two", "a.jpg.json"],
    ]


def test_graphs_without_a_relationship_are_counted(weights: Path, tmp_path: Path, capsys: Captured) -> None:
    image = write_image(tmp_path / "in" / "a.jpg")
    assert run(image, weights, "--score-threshold", "0.75") == 0
    said = "1 of them has no relationship with a score of 0.75 or more: try a lower --score-threshold"
    assert said in capsys.readouterr().out
    assert run(image, weights, "--overwrite") == 0
    assert "no relationship" not in capsys.readouterr().out
    # Without the dog, its relationships are not shown either.
    assert run(image, weights, "--entity-threshold", "0.4", "--overwrite") == 0
    assert "1 of them has no relationship" in capsys.readouterr().out
    graph = json.loads((tmp_path / "results" / "a.json").read_text())
    assert [entity["class"] for entity in graph["entities"]] == ["person"] and not graph["relationships"]


def test_a_graph_that_cannot_be_made_stops_no_others(
    weights: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [write_image(tmp_path / "in" / f"{i}.png") for i in range(3)]
    to_dict = Prediction.to_dict

    def refuse(self: Prediction, **options: Any) -> Any:
        if str(self.source).endswith("1.png"):
            raise IndexError("list index out of range")
        return to_dict(self, **options)

    monkeypatch.setattr(Prediction, "to_dict", refuse)
    assert run(images, weights) == 1
    assert graphs(weights) == ["0.json", "2.json"]
    assert capsys.readouterr().err == f"{images[1]} can't be used: list index out of range\n"


def test_ctrl_c_says_how_many_are_done(weights: Path, tmp_path: Path, capsys: Captured) -> None:
    images = [write_image(tmp_path / "in" / f"{i}.png", rows=17 if i == 2 else 40) for i in range(4)]
    assert run(images, weights) == 130
    results = tmp_path / "results"
    assert capsys.readouterr().err == (
        f"interrupted: finished 2 of 4 images; their results are in {results}, and "
        "--resume goes on with the others\n"
    )
    # No graph is without its drawing.
    assert names(weights) == ["0.json", "0.png", "1.json", "1.png"]


def test_missing_files_are_named(weights: Path, tmp_path: Path, capsys: Captured) -> None:
    image = write_image(tmp_path / "in" / "a.jpg")
    (tmp_path / "empty").mkdir()
    for words, message in (
        (words_for(tmp_path / "nothing", weights), r"--input .*nothing: no such file or folder"),
        (words_for(tmp_path / "empty", weights), "no image in this folder"),
        (words_for(image, weights.parent / "other.pth"), r"--weights.*other\.pth"),
        (words_for(image, weights, "--config-file", tmp_path / "c.yaml"), r"c\.yaml.*--config-file"),
    ):
        assert re.search(message, line_of_refusal(capsys, *words))


def test_a_misspelt_override_is_named_with_similar_keys(
    weights: Path, tmp_path: Path, capsys: Captured
) -> None:
    image = write_image(tmp_path / "in" / "a.jpg")
    message = line_of_refusal(capsys, *words_for([image, "MODEL.DEVCE", "cpu"], weights))
    assert message.startswith("--input MODEL.DEVCE: no such file or folder: did you mean MODEL.DEVICE")
    message = line_of_refusal(capsys, *words_for(image, weights, "MODEL.DEVCE", "cpu"))
    assert message.startswith("'MODEL.DEVCE' is no key of the config: did you mean MODEL.DEVICE")


def test_results_never_replace_the_input(weights: Path, tmp_path: Path, capsys: Captured) -> None:
    write_image(tmp_path / "results" / "a.png")
    assert "own folder" in line_of_refusal(capsys, *words_for(tmp_path / "results", weights))


def test_a_file_as_output_is_refused(weights: Path, tmp_path: Path, capsys: Captured) -> None:
    image = write_image(tmp_path / "in" / "a.jpg")
    (tmp_path / "results").write_text("mine")
    message = line_of_refusal(capsys, *words_for(image, weights))
    assert message == f"--output {tmp_path / 'results'} is a file: give a folder"
    assert (tmp_path / "results").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--score-threshold", "50"], "argument --score-threshold: 50 is not between 0 and 1"),
        (["--entity-threshold", "-1"], "argument --entity-threshold: -1 is not between 0 and 1"),
        (["--top-k", "101"], "--top-k 101 is more than 100, the number that RelDN ranks"),
        (["--top-k", "0"], "argument --top-k: 0 is not at least 1"),
        (["--predicates-per-pair", "0"], "argument --predicates-per-pair: 0 is not at least 1"),
        (["--pad"], "--pad is about batches of several images: give --batch-size, too"),
    ],
)
def test_numbers_out_of_their_range_are_wrong_usage(capsys: Captured, words: list[str], message: str) -> None:
    assert usage_error(capsys, "predict", "--input", "a.jpg", "--weights", "x", *words) == message


def test_the_parser_names_all_formats() -> None:
    assert tuple(format_names()) == NAMES_OF_FORMATS


def test_the_parser_knows_how_many_relationships_reldn_ranks() -> None:
    assert MOST_RELATIONSHIPS == COMPLETE_UP_TO


# Parts of names of files that lead elsewhere, hide a file, or are the same on some system.
_PARTS = [
    ".",
    "..",
    " ",
    "/",
    "\\",
    "\0",
    "\n",
    "\u2028",
    "\udcff",
    "a",
    "A",
    "ß",
    "SS",
    "é",
    "e\u0301",
    "_",
    "1",
]
_PARTS += ["con", "NUL", "lpt1", "~", ":", "∕", "x" * 180, ".png", ".jpg"]


@given(
    st.lists(st.lists(st.sampled_from(_PARTS), min_size=1, max_size=4).map("".join), max_size=6, unique=True)
)
@example(["..png", ".png", " .png", "...jpg", "con.png", "a..png", "a .png", "A.png", "a.jpg", "./A.JPG"])
@example(["a.png", "A.png", "a.png.jpg", "a/b.png", "a_b.png", "b.png", "_1.png", "_.png"])
def test_results_of_any_names_are_apart_and_stay_in_the_folder(given_names: list[str]) -> None:
    folder = Path("/results")
    # A path can't hold a zero byte where the system is asked for it.
    names = output_names([Path("/in", name.replace("\0", "\1").lstrip("/")) for name in given_names])
    written = [folder / f"{name}.json" for name in names]
    assert all(
        path.parent == folder and path.name == f"{name}.json"
        for path, name in zip(written, names, strict=True)
    )
    assert all(name and name[0] not in ". " and name[-1] not in ". " for name in names)
    assert not any(
        "/" in name or "\\" in name or not name.isprintable() for name in names if "\u200d" not in name
    )
    assert not any(re.match(r"(con|nul|lpt1)(\.|$)", name, re.IGNORECASE) for name in names)
    assert len({name.casefold() for name in names}) == len(names)
    assert all(len(os.fsencode(name)) < 240 for name in names)


def test_a_name_of_dots_stays_in_the_folder(weights: Path, tmp_path: Path) -> None:
    content = write_image(tmp_path / "a.png").read_bytes()
    (tmp_path / "in").mkdir()
    images = [tmp_path / "in" / name for name in ("..png", "...png", ".png", "con.png")]
    for image in images:
        image.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    assert run(images, weights) == 0
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "results"])
    assert len(graphs(weights)) == 4 and "_con.json" in graphs(weights)


def test_line_feeds_in_names_make_no_lines(weights: Path, tmp_path: Path, capsys: Captured) -> None:
    bad = tmp_path / "a\nerror: FAKE.png"
    bad.write_bytes(b"")
    assert run(bad, weights) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}/a\\nerror: FAKE.png cannot be read")
