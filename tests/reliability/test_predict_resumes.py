"""`reldn predict` that was stopped at any moment goes on, and no result is lost, doubled or mixed up."""

import io
import json
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from detectron2.config import CfgNode

from reldn_d2 import visualization
from reldn_d2.cli.prediction import record
from reldn_d2.cli.prediction.formats import format_names, triplet_parts
from reldn_d2.cli.prediction.formats.triplet_parts import TripletParts
from reldn_d2.cli.prediction.formats.writer import AppendingWriter, FileWriter, Writer
from reldn_d2.engine import load_config
from reldn_d2.engine.folder_lock import LOCK_FILE, release
from tests.builders.commands import Captured, line_of_refusal, usage_error
from tests.builders.fake_predictor import FakePredictor, PredictCommand, write_picture
from tests.builders.forks import in_child, kill_myself, running_child
from tests.builders.tiny_models import REPOSITORY, TINY, TinyConfig

IMAGES = 6
# Shards are written by workers, and stand alone (tests/engine/test_shard_worker.py).
ALL = ("--format", *(name for name in format_names() if name != "shards"))


@pytest.fixture
def predict(tmp_path: Path, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch) -> PredictCommand:
    """See `command_with_images`."""
    return command_with_images(tmp_path, tiny_config(), monkeypatch)


def command_with_images(folder: Path, config: CfgNode, monkeypatch: pytest.MonkeyPatch) -> PredictCommand:
    """The command with six images, one of which can't be used. Everything is committed at once."""
    for number in range(IMAGES):
        write_picture(folder / "in" / f"{number}.png", 40 * number, rows=13 if number == 3 else 40)
    for kind in (Writer, TripletParts):
        monkeypatch.setattr(kind, "period", 0.0)
    # What is drawn makes no difference here, and takes most of the time.
    monkeypatch.setattr(visualization, "draw_scene_graph", lambda picture, *_, **__: picture)
    return PredictCommand(folder, config, monkeypatch)


def rows(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """The rows of all Parquet files, in their order."""
    parts = [content for name, content in files.items() if name.endswith(".parquet")]
    return [row for part in parts for row in pq.read_table(io.BytesIO(part)).to_pylist()]


def others(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not name.endswith(".parquet")}


@pytest.fixture
def whole(predict: PredictCommand, tmp_path: Path) -> dict[str, bytes]:
    """The results of a run that nobody disturbs."""
    output, predict.output = predict.output, tmp_path / "whole"
    assert predict("--input", tmp_path / "in", *ALL) == 1
    files, predict.output = predict.files(), output
    FakePredictor.seen.clear()
    return files


def watch(
    monkeypatch: pytest.MonkeyPatch, places: list[tuple[Any, str]], moment: Callable[[int], None]
) -> None:
    """Calls a function with 1, 2, ... before and after each call of some functions, counted together."""
    count = [0]

    def tick() -> None:
        count[0] += 1
        moment(count[0])

    def watched(inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            tick()
            result = inner(*args, **kwargs)
            tick()
            return result

        return call

    for owner, name in places:
        monkeypatch.setattr(owner, name, watched(getattr(owner, name)))


PLACES: list[tuple[Any, str]] = [
    (os, "fsync"),
    (os, "replace"),
    *((kind, "write") for kind in (FileWriter, AppendingWriter, TripletParts)),
    (record.Record, "_append"),
]


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many moments `watch` counts in a whole run."""
    folder, found = tmp_path_factory.mktemp("moments"), list[int]()
    config = load_config(str(REPOSITORY / "configs" / "scenes" / "reldn.yaml"), [*TINY, "MODEL.WEIGHTS", ""])
    with pytest.MonkeyPatch.context() as monkeypatch:
        predict = command_with_images(folder, config, monkeypatch)
        watch(monkeypatch, PLACES, found.append)
        assert predict("--input", folder / "in", *ALL) == 1
    assert len(found) > IMAGES * len(PLACES)
    return len(found)


@pytest.mark.parametrize("part", range(12))
def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(
    part: int, predict: PredictCommand, whole: dict[str, bytes], tmp_path: Path, moments: int
) -> None:
    # Multiples of the golden ratio are spread over the whole run, and fall in step with no image.
    moment = 1 + int(part * 0.618034 % 1 * moments)

    def until_killed() -> int:
        with pytest.MonkeyPatch.context() as monkeypatch:
            watch(monkeypatch, PLACES, lambda count: kill_myself() if count == moment else None)
            return predict("--input", tmp_path / "in", *ALL)

    assert in_child(until_killed).killed
    finished = before(predict.output)
    assert predict("--input", tmp_path / "in", *ALL, "--resume") == 1
    found = predict.files()
    assert others(found) == others(whole) and rows(found) == rows(whole)
    # Finished images are not predicted again.
    assert len(FakePredictor.seen) == IMAGES - finished
    assert not list(predict.output.rglob(".*"))


AT_END = ("--format", "coco-relations", "label-studio")


def test_a_run_that_is_killed_at_its_end_writes_the_files_of_all_images_again(
    predict: PredictCommand, tmp_path: Path
) -> None:
    """They are written one after the other. A kill may come after each, before the record knows of it."""
    words, replaced, replace = ("--input", tmp_path / "in", *AT_END), list[str](), os.replace

    def note(source: Any, target: Any) -> None:
        replaced.append(Path(target).name)
        replace(source, target)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(os, "replace", note)
        assert predict(*words) == 1
    whole = predict.files()
    at_end = ["coco_relations.json", "label_studio.json", "label_studio.xml"]
    assert set(at_end) <= whole.keys()
    write_picture(tmp_path / "in" / "more" / "7.png")  # the folder of all images stays
    assert predict(*words, "--resume") == 1
    longer = predict.files()
    assert all(longer[name] != whole[name] for name in ("coco_relations.json", "label_studio.json"))
    # `watch` counts two moments for each file; the second comes after it.
    for moment in (2 * replaced.index(name) + 2 for name in at_end):
        predict.output = tmp_path / f"results {moment}"

        def until_killed(moment: int = moment) -> int:
            with pytest.MonkeyPatch.context() as monkeypatch:
                watch(
                    monkeypatch, [(os, "replace")], lambda count: kill_myself() if count == moment else None
                )
                return predict(*words)

        assert in_child(until_killed).killed
        FakePredictor.seen.clear()
        assert predict(*words, "--resume") == 1
        assert predict.files() == longer
        assert len(FakePredictor.seen) == 1  # the picture that can't be used


def before(output: Path) -> int:
    """How many images are finished, as the journal says."""
    journal = output / "record" / "finished.jsonl"
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    kinds = [next(iter(json.loads(line))) for line in lines]
    last = max((i for i, kind in enumerate(kinds) if kind == "positions"), default=0)
    return kinds[:last].count("image")


def test_a_torn_line_of_the_journal_is_ignored(
    predict: PredictCommand, whole: dict[str, bytes], tmp_path: Path
) -> None:
    assert predict("--input", tmp_path / "in", *ALL) == 1
    journal = predict.output / "record" / "finished.jsonl"
    content = journal.read_bytes()
    # The first line of positions is that of the start.
    third = [found.end() for found in re.finditer(rb'{"positions".*\n', content)][3]
    for cut in (third, third + 1, third + 40, content.index(b"\n", third) + 1):
        journal.write_bytes(content[:cut])
        for name in ("[45].*", "coco_relations.*", "label_studio.*"):
            for path in predict.output.glob(name):
                path.unlink()
        FakePredictor.seen.clear()
        assert predict("--input", tmp_path / "in", *ALL, "--resume") == 1
        assert [Path(name).name for name in FakePredictor.seen] == ["3.png", "4.png", "5.png"]
        assert others(predict.files()) == others(whole) and rows(predict.files()) == rows(whole)


def test_ctrl_c_keeps_what_is_done_without_waiting_for_the_next_commit(
    predict: PredictCommand, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "period", 1e9)
    image = tmp_path / "in" / "4.png"
    content = image.read_bytes()
    write_picture(image, rows=17)
    assert predict("--input", tmp_path / "in", *ALL) == 130
    assert before(predict.output) == 3
    assert "3.png" in (predict.output / "failures.csv").read_text()
    image.write_bytes(content)
    FakePredictor.seen.clear()
    assert predict("--input", tmp_path / "in", *ALL, "--resume") == 1
    assert len(FakePredictor.seen) == 3
    assert others(predict.files()) == others(whole) and rows(predict.files()) == rows(whole)


def test_ctrl_c_in_the_middle_of_an_image(
    predict: PredictCommand, whole: dict[str, bytes], tmp_path: Path, capsys: Captured
) -> None:
    def interrupt(count: int) -> None:
        if count == 3:  # before the second image's rows
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as monkeypatch:
        watch(monkeypatch, [(TripletParts, "write")], interrupt)
        assert predict("--input", tmp_path / "in", *ALL) == 130
    assert "interrupted: finished 1 of 6 images" in capsys.readouterr().err
    assert predict("--input", tmp_path / "in", *ALL, "--resume") == 1
    assert others(predict.files()) == others(whole) and rows(predict.files()) == rows(whole)


def test_ctrl_c_waits_until_an_image_is_written(
    predict: PredictCommand, whole: dict[str, bytes], tmp_path: Path, capsys: Captured
) -> None:
    """What is pressed in the middle of the second image's files counts after them."""

    def press(count: int) -> None:
        if count == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as monkeypatch:
        watch(monkeypatch, [(TripletParts, "write")], press)
        assert predict("--input", tmp_path / "in", *ALL) == 130
    assert "interrupted: finished 2 of 6 images" in capsys.readouterr().err
    assert predict("--input", tmp_path / "in", *ALL, "--resume") == 1
    assert others(predict.files()) == others(whole) and rows(predict.files()) == rows(whole)


def on_a_small_disk(limit: int, predict: PredictCommand, *words: object) -> int:
    """Runs the command where a file may have so many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return predict(*words)


def test_a_full_disk_is_one_line_and_finished_images_are_kept(
    predict: PredictCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The table must be the first file that is too long.
    identity = {"weights (sha256)": "0" * 64}
    monkeypatch.setattr("reldn_d2.cli.prediction.identity.evaluation_identity", lambda *_: identity)
    monkeypatch.setattr(FakePredictor, "thing_classes", ("person" * 200, "dog" * 400))
    formats = ("--format", "csv")
    assert predict("--input", tmp_path / "in", *formats) == 1
    whole = predict.files()
    limit = len(whole["triplets.csv"]) - 100
    FakePredictor.seen.clear()

    said, shown = tmp_path / "said", tmp_path / "shown"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reldn_d2.cli.common.say", lambda text, error=False: said.write_text(text))
        patch.setattr("reldn_d2.cli.predict.say", lambda text, error=False: shown.write_text(text))
        assert (
            in_child(lambda: on_a_small_disk(limit, predict, "--input", tmp_path / "in", *formats)).value == 2
        )
    bad = f"{tmp_path / 'in' / '3.png'}"
    assert shown.read_text() == f"{bad} can't be used: 13 rows are bad luck"
    assert bad in (predict.output / "failures.csv").read_text()
    done = before(predict.output)
    assert done == IMAGES - 2
    assert said.read_text() == (
        f"error: {predict.output / 'triplets.csv'} can't be written (File too large): a file may not be so "
        f"large here: look at `ulimit -f`, or choose a folder on another disk. finished {done} of 6 images; "
        "--resume goes on with the others"
    )
    assert predict("--input", tmp_path / "in", *formats, "--resume") == 1
    assert len(FakePredictor.seen) == IMAGES - done
    assert predict.files() == whole


def test_a_disk_that_is_full_at_the_end_is_one_line(
    predict: PredictCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The file of all images has all names, and must be the first one that is too long.
    names = ("person", "dog", *(f"class {number}" for number in range(500)))
    monkeypatch.setattr(FakePredictor, "thing_classes", names)
    words = ("--input", tmp_path / "in", "--format", "coco-relations")
    assert predict(*words) == 1
    whole = predict.files()
    limit = len(whole["coco_relations.json"]) - 100
    said = tmp_path / "said"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reldn_d2.cli.common.say", lambda text, error=False: said.write_text(text))
        assert in_child(lambda: on_a_small_disk(limit, predict, *words)).value == 2
    assert re.fullmatch(
        rf"error: {predict.output}/coco_relations.json can't be written \(File too large\): .+\. finished "
        "5 of 6 images; --resume goes on with the others",
        said.read_text(),
    )
    FakePredictor.seen.clear()
    assert predict(*words, "--resume") == 1
    assert len(FakePredictor.seen) == 1 and predict.files() == whole


# --- what may be replaced


def test_the_same_run_without_resume_starts_again(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    assert predict("--input", tmp_path / "in", *ALL) == 1
    first = predict.files()
    (predict.output / "mine.txt").write_text("mine")
    FakePredictor.seen.clear()
    (tmp_path / "in" / "5.png").unlink()
    assert predict("--input", tmp_path / "in", *ALL) == 1
    assert len(FakePredictor.seen) == 5
    said = capsys.readouterr()
    assert (
        f"{predict.output} has results of 5 images of the same run: they are deleted" in said.out + said.err
    )
    found = predict.files()
    # Results of an image that is not there any more are gone, files of others stay.
    gone = first.keys() - found.keys()
    assert {"5.json", "5.png", "triplets.parquet/part-00004.parquet"} <= gone
    assert all(name.startswith("5.") for name in gone if not name.endswith(".parquet"))
    assert found["mine.txt"] == b"mine"
    assert found["graphs.jsonl"].count(b"\n") == 4


def test_one_photo_after_the_other(predict: PredictCommand, tmp_path: Path) -> None:
    """Results of other photos stay, unless they are in a file for all."""
    first, second = tmp_path / "in" / "1.png", tmp_path / "in" / "2.png"
    other = write_picture(tmp_path / "other" / "1.png", 200)
    for image in (first, second, other):
        assert predict("--input", image) == 0
    assert len(FakePredictor.seen) == 3
    found = predict.files()
    # The first photo keeps its name.
    assert found.keys() == {f"{name}.{ending}" for name in ("1", "2", "1_1") for ending in ("json", "png")}
    assert found["1.png"] != found["1_1.png"]
    write_picture(first, 30)
    assert predict("--input", first) == 0
    again = predict.files()
    assert [name for name in found if found[name] != again[name]] == ["1.png"]
    assert predict("--input", first, second, other, "--resume") == 0
    assert len(FakePredictor.seen) == 4 and predict.files() == again


def test_an_image_that_was_fine_in_an_earlier_run_can_fail(predict: PredictCommand, tmp_path: Path) -> None:
    image, other = tmp_path / "in" / "1.png", tmp_path / "in" / "2.png"
    assert predict("--input", image, other) == 0
    content = image.read_bytes()
    image.write_bytes(b"no picture")
    for more in ((), ("--resume",)):
        assert predict("--input", image, *more) == 1
        # Its files were those of another picture.
        assert predict.results() == ["2.json", "2.png", "failures.csv"]
    image.write_bytes(content)
    assert predict("--input", image, other, "--resume") == 0
    assert Path(FakePredictor.seen[-1]).name == "1.png"
    assert predict.results() == ["1.json", "1.png", "2.json", "2.png"]


def test_a_stopped_repetition_does_the_others_again(predict: PredictCommand, tmp_path: Path) -> None:
    names = ("0.png", "1.png", "2.png")
    inner = write_picture(tmp_path / "in" / "sub" / "1.png")
    assert predict("--input", tmp_path / "in" / "1.png") == 0
    images = [*(tmp_path / "in" / name for name in names), inner]
    assert predict("--input", *images) == 0
    first = predict.files()
    for image in images:
        write_picture(image, 130, rows=17 if image.name == "2.png" else 60)
    assert predict("--input", *images) == 130
    write_picture(images[2], 130, rows=60)
    FakePredictor.seen.clear()
    assert predict("--input", *images, "--resume") == 0
    assert FakePredictor.seen == [str(image) for image in images[2:]]
    found = predict.files()
    # Every image has kept the name of its files.
    assert found.keys() == first.keys()
    assert all(json.loads(found[name])["image"]["height"] == 60 for name in found if name.endswith("json"))


@pytest.mark.parametrize(
    ("words", "weight", "difference"),
    [
        ((), 1.0, r"weights \(sha256\) was \w+, now \w+"),
        (("--top-k", "5"), 0.0, "--top-k was 20, now 5"),
        (("--score-threshold", "0.5"), 0.0, "--score-threshold was 0.1, now 0.5"),
        (("INPUT.MIN_SIZE_TEST", "64"), 0.0, "INPUT.MIN_SIZE_TEST was 96, now 64"),
        (("--format", "json"), 0.0, "--format was drawings json, now json"),
        (("--pad", "--batch-size", "4"), 0.0, "--pad was no, now to --batch-size 4"),
    ],
    ids=["weights", "top-k", "threshold", "config", "format", "pad"],
)
def test_results_of_another_run_are_refused_without_overwrite(
    words: tuple[str, ...],
    weight: float,
    difference: str,
    predict: PredictCommand,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert predict("--input", tmp_path / "in") == 1
    first = predict.files()
    monkeypatch.setattr(FakePredictor, "weight", weight)
    for more in ((), ("--resume",)):
        message = line_of_refusal(capsys, *predict.words("--input", tmp_path / "in", *more, *words))
        start, end = message.split(". Choose another folder, or add --overwrite, which ")
        assert re.fullmatch(f"--output {predict.output} has results of another run: {difference}", start)
        assert end == "deletes them"
    assert predict.files() == first
    (predict.output / "mine.png").write_text("mine")
    assert predict("--input", tmp_path / "in" / "1.png", "--overwrite", *words) == 0
    assert predict.results() == (["1.json"] if "json" in words else ["1.json", "1.png"]) + ["mine.png"]


def test_the_batch_size_changes_no_result(predict: PredictCommand, tmp_path: Path) -> None:
    assert predict("--input", tmp_path / "in") == 1
    FakePredictor.seen.clear()
    assert predict("--input", tmp_path / "in", "--resume", "--batch-size", "4") == 1
    assert [Path(name).name for name in FakePredictor.seen] == ["3.png"]  # it failed, and is tried again


@pytest.mark.parametrize("name", ["1.json", "2.PNG", "graphs.jsonl", "triplets.csv", "failures.csv"])
def test_files_without_a_record_are_not_replaced(
    name: str, predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    predict.output.mkdir()
    (predict.output / name).write_text("mine")
    message = line_of_refusal(capsys, *predict.words("--input", tmp_path / "in", *ALL))
    assert message == (
        f"--output {predict.output} has 1 files that would be replaced, such as {name.lower()}, and no "
        "record of a run that wrote them: choose another folder, or add --overwrite"
    )
    assert predict.files() == {name: b"mine"} and not (predict.output / "record").exists()
    assert predict("--input", tmp_path / "in", *ALL, "--overwrite") == 1
    assert b"mine" not in predict.files()[name] or name == "2.PNG"


def test_files_with_the_name_of_an_image_that_failed_are_not_replaced(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    words = ("--input", tmp_path / "in", "--format", "json")
    assert predict(*words) == 1
    (predict.output / "3.json").write_text("mine")
    assert predict(*words, "--top-k", "3", "--overwrite") == 1
    assert (predict.output / "3.json").read_text() == "mine"
    write_picture(tmp_path / "in" / "3.png")
    message = line_of_refusal(capsys, *predict.words(*words, "--top-k", "3", "--resume"))
    assert "has 1 files that would be replaced, such as 3.json" in message
    assert (predict.output / "3.json").read_text() == "mine"


def test_parts_of_others_are_not_deleted(predict: PredictCommand, tmp_path: Path) -> None:
    part = predict.output / "triplets.parquet" / "part-mine.parquet"
    part.parent.mkdir(parents=True)
    part.write_text("mine")
    for more in ((), ("--top-k", "3")):
        assert predict("--input", tmp_path / "in", "--format", "parquet", "--overwrite", *more) == 1
        assert part.read_text() == "mine"


def test_files_of_others_beside_recorded_results_are_not_replaced(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    assert predict("--input", tmp_path / "in" / "1.png") == 0
    (predict.output / "2.json").write_text("mine")
    first = predict.files()
    for more in ((), ("--resume",)):
        message = line_of_refusal(capsys, *predict.words("--input", tmp_path / "in", *more))
        assert predict.files() == first
        assert "has 1 files that would be replaced, such as 2.json" in message
    assert (predict.output / "2.json").read_text() == "mine"


def test_resume_takes_new_images_too(predict: PredictCommand, tmp_path: Path) -> None:
    assert predict("--input", tmp_path / "in", "--format", "json", "jsonl") == 1
    new = write_picture(tmp_path / "new" / "1.png")
    FakePredictor.seen.clear()
    assert predict("--input", tmp_path / "in", new, "--format", "json", "jsonl", "--resume") == 1
    assert [Path(name).parent.name for name in FakePredictor.seen] == ["in", "new"]
    # The finished image keeps its name, the other one gets more of its path.
    assert "1.json" in predict.results() and any("new_1.png.json" in name for name in predict.results())
    assert len((predict.output / "graphs.jsonl").read_text().splitlines()) == 6


def test_an_image_is_the_same_however_it_is_given(
    predict: PredictCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--format", "json", "jsonl")
    assert predict("--input", "in", *words) == 1
    first = predict.files()
    FakePredictor.seen.clear()
    for given in (tmp_path / "in", "in/../in", "./in/*.png"):
        assert predict("--input", given, *words, "--resume") == 1
        assert predict.files().keys() == first.keys()
    assert {Path(name).name for name in FakePredictor.seen} == {"3.png"}  # it failed, and is tried again
    # From another working directory, the same words name another image, which is called by its whole path.
    other = write_picture(tmp_path / "elsewhere" / "in" / "1.png")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert predict("--input", "in", *words, "--resume") == 0
    graphs = map(json.loads, (predict.output / "graphs.jsonl").read_text().splitlines())
    assert [graph["image"]["file_name"] for graph in graphs] == [
        *("0.png", "1.png", "2.png", "4.png", "5.png", str(other))
    ]


def test_changed_images_keep_their_results_and_are_named(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    assert predict("--input", tmp_path / "in") == 1
    changed = write_picture(tmp_path / "in" / "2.png", rows=50)
    first = predict.files()
    assert predict("--input", tmp_path / "in", "--resume") == 1
    assert predict.files() == first
    assert (
        f"1 image has changed since the prediction, the first being {changed}: the results are the old ones"
        in (capsys.readouterr().out)
    )


def test_failures_of_the_last_try_are_removed(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    assert predict("--input", tmp_path / "in") == 1
    assert "failures.csv" in predict.results()
    write_picture(tmp_path / "in" / "3.png")
    assert predict("--input", tmp_path / "in", "--resume") == 0
    assert "failures.csv" not in predict.results() and "3.json" in predict.results()
    assert "predicted the scene graphs of 6 of 6 images (5 of them before)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["1.json", "graphs.jsonl", "triplets.parquet/part-00001.parquet"])
def test_results_that_somebody_removed_are_named(
    name: str, predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    assert predict("--input", tmp_path / "in", *ALL) == 1
    (predict.output / name).unlink()
    message = line_of_refusal(capsys, *predict.words("--input", tmp_path / "in", *ALL, "--resume"))
    assert Path(name).name in message and message.endswith(
        "Run without --resume, which writes everything again"
    )
    assert predict("--input", tmp_path / "in", *ALL) == 1


def test_resume_and_overwrite_exclude_each_other(capsys: Captured) -> None:
    words = ("predict", "--input", "a", "--weights", "b", "--resume", "--overwrite")
    assert (
        usage_error(capsys, *words)
        == "--resume keeps results, and --overwrite deletes them: give one of them"
    )


def test_two_processes_do_not_write_into_one_folder(
    predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    def wait(ready: Callable[[], None]) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(FakePredictor, "find", lambda *_: ready())
            predict("--input", tmp_path / "in")

    with running_child(wait):
        message = line_of_refusal(capsys, *predict.words("--input", tmp_path / "in"))
        assert message.startswith(f"{predict.output} is in use by another run (prediction, process ")
    assert predict("--input", tmp_path / "in", "--resume") == 1
    assert not (predict.output / LOCK_FILE).exists()
    release()


# --- folders from anybody


@pytest.mark.parametrize("name", ["../victim", "/tmp/victim", "a/b", "..", ""])
def test_a_record_deletes_nothing_outside(
    name: str, predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    assert predict("--input", tmp_path / "in" / "1.png") == 0
    (tmp_path / "victim.json").write_text("mine")
    journal = predict.output / "record" / "finished.jsonl"
    journal.write_text(json.dumps({"names": [name]}) + "\n")
    message = line_of_refusal(capsys, *predict.words("--input", tmp_path / "in" / "1.png"))
    assert "finished.jsonl is damaged at byte 0" in message
    assert (tmp_path / "victim.json").read_text() == "mine"


@pytest.mark.parametrize("name", ["graphs.jsonl", "triplets.parquet", "label_studio.xml", "record"])
def test_links_out_of_the_folder_are_refused(
    name: str, predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    predict.output.mkdir()
    (predict.output / name).symlink_to(victim)
    message = line_of_refusal(capsys, *predict.words("--input", tmp_path / "in", *ALL, "--overwrite"))
    assert f"{name} is a link that leads out of its folder" in message and not any(victim.iterdir())


DAMAGE: dict[str, tuple[str, str]] = {
    "no JSON": ("run.json", "{"),
    "another version": ("run.json", '{"format_version": 2}'),
    "a list": ("run.json", "[]"),
    "a line": ("finished.jsonl", "{\n"),
    "a position": ("finished.jsonl", '{"positions": {"csv": -1}}\n'),
    "a time": (
        "finished.jsonl",
        '{"image": "a", "name": "a", "size": 1, "relationships": 1, "clipped": 0, "changed": Infinity}\n',
    ),
    "a size": ("finished.jsonl", '{"image": "a", "name": "a", "size": "x", "changed": 1}\n'),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_record_is_named(
    kind: str, predict: PredictCommand, tmp_path: Path, capsys: Captured
) -> None:
    file, content = DAMAGE[kind]
    assert predict("--input", tmp_path / "in" / "1.png") == 0
    (predict.output / "record" / file).write_text(content)
    message = line_of_refusal(capsys, *predict.words("--input", tmp_path / "in" / "1.png", "--resume"))
    assert str(predict.output / "record" / file) in message
    assert "choose another --output, or delete this folder" in message
    shutil.rmtree(predict.output)


# --- Parquet


def test_rows_become_a_part_when_there_are_enough(
    predict: PredictCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TripletParts, "period", 1e9)
    monkeypatch.setattr(triplet_parts, "_MOST_ROWS", 4)  # an image has two
    assert predict("--input", tmp_path / "in", "--format", "parquet") == 1
    parts = sorted((predict.output / "triplets.parquet").iterdir())
    assert [pq.read_table(part).num_rows for part in parts] == [4, 4, 2]
    assert pq.read_table(predict.output / "triplets.parquet").num_rows == 10


def test_a_table_without_rows_has_its_columns(predict: PredictCommand, tmp_path: Path) -> None:
    words = ("--format", "parquet", "csv", "--score-threshold", "1")
    assert predict("--input", tmp_path / "in" / "1.png", *words) == 0
    table = pq.read_table(predict.output / "triplets.parquet")
    assert table.num_rows == 0
    assert (predict.output / "triplets.csv").read_text() == f"{','.join(table.column_names)}\n"


def test_a_missing_pyarrow_is_named(
    predict: PredictCommand, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("reldn_d2.utils.extras.import_module", refuse)
    message = line_of_refusal(capsys, *predict.words("--input", tmp_path / "in", "--format", "parquet"))
    assert message.endswith(
        "install the package pyarrow: pip install 'reldn-d2[parquet]', or pip install pyarrow"
    )
    assert (
        "there is no such format; use some of drawings, json, jsonl, csv, parquet, shards, graphml"
        in line_of_refusal(capsys, *predict.words("--input", tmp_path / "in", "--format", "jsn"))
    )
