"""The worker of shards: rows as `to_dict` says, what is finished, and images that take the worker down."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from reldn_d2.data.sources import InputRow, Unit
from reldn_d2.engine import Request
from reldn_d2.engine.prediction.attempts import Attempts
from reldn_d2.engine.prediction.shard_worker import ShardOptions, ShardWorker, UnitReport, check_shards
from reldn_d2.scene_graphs import read_graphs
from tests.builders.fake_predictor import FakePredictor, write_picture
from tests.builders.tiny_models import REPOSITORY, TinyConfig

IDENTITY = {"weights (sha256)": "abc"}


class Rows:
    """Reads given rows, and counts how often it was asked."""

    def __init__(self, rows: list[InputRow]) -> None:
        self.all, self.asked, self.now = rows, 0, ""

    def state(self, unit: Unit) -> str:
        return self.now

    def rows(self, unit: Unit) -> Iterator[InputRow]:
        self.asked += 1
        return iter(x for x in self.all if unit.first <= x.row and (unit.stop is None or x.row < unit.stop))


@pytest.fixture
def predictor(tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch) -> FakePredictor:
    monkeypatch.setattr(FakePredictor, "configs", [], raising=False)
    monkeypatch.setattr(FakePredictor, "seen", [], raising=False)
    return FakePredictor(tiny_config())


@pytest.fixture
def archive(tmp_path: Path) -> Rows:
    """Seven rows: the third is an error of the input, the fifth one of the predictor."""
    rows = []
    for number in range(7):
        image = write_picture(tmp_path / f"{number}.png", rows=13 if number == 4 else 40 + number)
        rows.append(InputRow("/a.tar", number, f"/a.tar/{number}", f"id{number}", str(image)))
    rows[2] = InputRow("/a.tar", 2, "/a.tar/2", None, None, "has no picture")
    return Rows(rows)


def worker(predictor: Any, reader: Any, output: Path, **options: Any) -> ShardWorker:
    made = ShardOptions(score_threshold=0.0, shard_size=3, **options)
    return ShardWorker(predictor, reader, output, IDENTITY, made)


def table(output: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pyarrow.parquet.read_table(output / "shards").to_pylist()
    return found


UNIT = Unit("/a.tar", 0, None)


def counts(report: UnitReport) -> tuple[int, int, int, int, int]:
    return report.rows, report.before, report.shards, report.replaced, report.errors


def test_rows_are_those_of_to_dict(predictor: FakePredictor, archive: Rows, tmp_path: Path) -> None:
    report = worker(predictor, archive, tmp_path, top_k=2).work(UNIT)
    assert counts(report) == (7, 0, 3, 0, 2)
    assert report.named == (
        ("/a.tar/2", "has no picture"),
        ("/a.tar/4", "can't be used: 13 rows are bad luck"),
    )
    rows = table(tmp_path)
    assert [x["row"] for x in rows] == [*range(7)] and [x["image_id"] for x in rows][3] == "id3"
    assert [x["error"] is None for x in rows] == [True, True, False, True, False, True, True]
    graphs = read_graphs(tmp_path / "shards", file_format="shards")
    good = [x for x in archive.all if x.row not in (2, 4) and x.image is not None]
    for graph, outcome, row in zip(
        graphs, predictor.stream([Request(x.image) for x in good]), good, strict=True
    ):
        assert outcome.prediction is not None
        expected = outcome.prediction.to_dict(top_k=2)
        expected["image"]["file_name"] = row.path
        assert graph == expected  # also bit by bit: the model's numbers are float32


def test_what_is_finished_is_not_even_read(predictor: FakePredictor, archive: Rows, tmp_path: Path) -> None:
    worker(predictor, archive, tmp_path).work(UNIT)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}
    archive.asked = 0
    assert counts(worker(predictor, archive, tmp_path).work(UNIT)) == (0, 7, 3, 0, 2)
    assert archive.asked == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()} == before


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_or_damaged_shard_is_written_again(
    lost: int, predictor: FakePredictor, archive: Rows, tmp_path: Path
) -> None:
    worker(predictor, archive, tmp_path).work(UNIT)
    paths = sorted((tmp_path / "shards").iterdir())
    contents = [path.read_bytes() for path in paths]
    paths[lost].write_bytes(contents[lost][:-20])
    predictor.seen.clear()
    assert worker(predictor, archive, tmp_path).work(UNIT).before == 7 - (3, 3, 1)[lost]
    assert [path.read_bytes() for path in paths] == contents
    # Only the images of this shard.
    assert len(predictor.seen) == (2, 3, 1)[lost]


def test_a_changed_input_is_predicted_again(predictor: FakePredictor, archive: Rows, tmp_path: Path) -> None:
    archive.now = "one"
    worker(predictor, archive, tmp_path).work(UNIT)
    # Who can't say whether it has changed does not ask for a second prediction.
    for now, before, replaced in (("one", 7, 0), ("", 7, 0), ("two", 0, 3), ("two", 7, 0)):
        archive.now = now
        report = worker(predictor, archive, tmp_path).work(UNIT)
        assert (report.before, report.replaced) == (before, replaced)


def test_the_end_of_a_full_last_shard_is_known(
    predictor: FakePredictor, archive: Rows, tmp_path: Path
) -> None:
    archive.all = archive.all[:6]
    assert worker(predictor, archive, tmp_path).work(UNIT).shards == 2
    archive.asked = 0
    assert counts(worker(predictor, archive, tmp_path).work(UNIT)) == (0, 6, 2, 0, 2)
    assert archive.asked == 0


def test_chunks_end_with_the_unit_and_at_multiples(
    predictor: FakePredictor, archive: Rows, tmp_path: Path
) -> None:
    report = worker(predictor, archive, tmp_path).work(Unit("/a.tar", 2, 5))
    assert (report.rows, report.shards) == (3, 2)
    sizes = [pyarrow.parquet.read_metadata(x).num_rows for x in sorted((tmp_path / "shards").iterdir())]
    assert sizes == [1, 2]
    assert worker(predictor, archive, tmp_path).work(Unit("/a.tar", 2, 5)).before == 3


def test_other_paths_at_the_same_place_are_predicted(predictor: FakePredictor, tmp_path: Path) -> None:
    images = [str(write_picture(tmp_path / f"{name}.png")) for name in "abc"]

    def work(*paths: str) -> UnitReport:
        reader = Rows([InputRow("", n, path, None, path) for n, path in enumerate(paths)])
        return worker(predictor, reader, tmp_path).work(Unit("", 0, len(paths), paths))

    # A path that is listed twice has two rows.
    assert counts(work(images[0], images[0])) == (2, 0, 1, 0, 0)
    assert [(x["row"], x["path"]) for x in table(tmp_path)] == [(0, images[0]), (1, images[0])]
    assert counts(work(images[0], images[1])) == (2, 0, 1, 1, 0)
    assert [x["path"] for x in table(tmp_path)] == images[:2]
    assert counts(work(*images)) == (3, 0, 1, 1, 0)


def test_results_of_another_run_are_refused(predictor: FakePredictor, archive: Rows, tmp_path: Path) -> None:
    worker(predictor, archive, tmp_path).work(UNIT)
    other = ShardWorker(predictor, archive, tmp_path, {"weights (sha256)": "def"}, ShardOptions(shard_size=3))  # type: ignore[arg-type]
    message = r"part-.*parquet has results of another run: weights \(sha256\) was abc, now def"
    with pytest.raises(ValueError, match=message):
        other.work(UNIT)
    with pytest.raises(ValueError, match=message):
        check_shards(tmp_path, {"weights (sha256)": "def"})
    check_shards(tmp_path, IDENTITY)


def test_an_error_of_the_disk_is_no_death(
    predictor: FakePredictor, archive: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("reldn_d2.scene_graphs.formats.shards.ShardFile.write", full)
        for _ in range(3):
            with pytest.raises(OSError, match="No space left"):
                worker(predictor, archive, tmp_path).work(UNIT)
    (path,) = (tmp_path / "attempts").iterdir()
    assert Attempts(path).whole == 0
    assert worker(predictor, archive, tmp_path).work(UNIT).rows == 7
    assert not [*(tmp_path / "attempts").iterdir()]


def test_a_damaged_count_of_attempts_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"whole": []}')
    with pytest.raises(ValueError, match=r"a\.json is damaged .*: delete it"):
        Attempts(tmp_path / "a.json")


# Works on cases until each survives, in children whose deaths it counts. Words: a folder, and the cases.
DEADLY = """
import json, os, sys
from pathlib import Path
import pandas, pyarrow.compute, pyarrow.parquet  # once, not in each child
from reldn_d2.data.sources import InputRow, Unit
from reldn_d2.engine import Outcome
from reldn_d2.engine.prediction.shard_worker import ShardOptions, ShardWorker
from reldn_d2.structures import Vocabulary

class Predictor:
    vocabulary = Vocabulary(["cup"], ["on"])
    def __init__(self, deadly, deaths):
        self.deadly, self.deaths = deadly, deaths
    def stream(self, requests, *, batch_size, pad, readers):
        images = [request.image for request in requests]
        for place, image in enumerate(images):
            if image == self.deadly.get("image") or len(images) >= self.deadly.get("together", 99):
                os._exit(9)
            if image == self.deadly.get("from outside") and self.deaths < self.deadly["times"]:
                os._exit(9)
            yield Outcome(place, Found(batch_size))

class Found:
    def __init__(self, batch_size):
        self.batch_size = batch_size
    def to_dict(self, **_):
        return {"version": 1, "image": {"file_name": "", "width": self.batch_size, "height": 1},
                "entities": [], "relationships": []}

class Reader:
    def __init__(self, deadly):
        self.deadly = deadly
    def state(self, unit):
        return ""
    def rows(self, unit):
        for row in range(unit.first, unit.stop):
            if row == self.deadly.get("row"):
                os._exit(9)
            yield InputRow("/t", row, f"/t#{row}", None, f"image{row}", None)

def work(output, batch_size, deadly, deaths):
    options = ShardOptions(shard_size=4, batch_size=batch_size)
    worker = ShardWorker(Predictor(deadly, deaths), Reader(deadly), output, {"a": "b"}, options)
    try:
        worker.work(Unit("/t", 0, 6))
    except ValueError as error:
        (output / "said").write_text(str(error))

for name, (batch_size, deadly) in json.loads(sys.argv[2]).items():
    deaths, status = 0, 9
    while status and deaths < 50:
        child = os.fork()
        if not child:
            work(Path(sys.argv[1], name), batch_size, deadly, deaths)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        deaths += status == 9
    print(json.dumps([name, deaths]))
"""
CASES = {
    "calm": (2, {}),
    "an image": (1, {"image": "image1"}),
    "an image of a batch": (2, {"image": "image1"}),
    **{f"killed {times}": (2, {"from outside": "image2", "times": times}) for times in (1, 2, 3)},
    "together": (2, {"together": 2}),
    "a row": (1, {"row": 5}),
}


@pytest.fixture(scope="module")
def deadly(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A folder with the results of all cases, and how often the worker died in each."""
    folder = tmp_path_factory.mktemp("deadly")
    done = subprocess.run(
        [sys.executable, "-c", DEADLY, folder, json.dumps(CASES)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, dict(map(json.loads, done.stdout.splitlines()))


@pytest.mark.parametrize("case", ["an image", "an image of a batch"])
def test_an_image_that_takes_the_worker_down_gets_an_error(
    case: str, deadly: tuple[Path, dict[str, int]]
) -> None:
    """Two deaths with the other images, two alone; the others have their rows, as batches give them."""
    folder, deaths = deadly
    assert deaths[case] == 4
    rows = table(folder / case)
    assert [x["row"] for x in rows] == [*range(6)]
    assert [x["error"] is None for x in rows] == [True, False, True, True, True, True]
    assert rows[1]["error"].startswith("took the worker down 2 times")
    assert {x["width"] for x in rows if x["error"] is None} == {CASES[case][0]}
    assert not [*(folder / case / "attempts").iterdir()]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_kills_from_outside_cost_a_retry(times: int, deadly: tuple[Path, dict[str, int]]) -> None:
    folder, deaths = deadly
    assert deaths[f"killed {times}"] == times
    assert table(folder / f"killed {times}") == table(folder / "calm")


def test_images_that_are_too_many_together_are_predicted_alone(deadly: tuple[Path, dict[str, int]]) -> None:
    folder, deaths = deadly
    # Twice before, and twice after each alone was fine: of both chunks.
    assert deaths["together"] == 8
    rows = table(folder / "together")
    assert len(rows) == 6 and {(x["error"], x["width"]) for x in rows} == {(None, 1)}


def test_a_row_that_can_not_be_read_ends_the_command(deadly: tuple[Path, dict[str, int]]) -> None:
    folder, deaths = deadly
    assert deaths["a row"] == 5
    said = (folder / "a row" / "said").read_text()
    assert said == "/t: reading row 5 (from 0) took the worker down 3 times: take this row out"
