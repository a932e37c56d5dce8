"""Prediction on Ray Data: the answers of one process, bit by bit, and what is refused before reading."""

import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image

import reldn_d2
from reldn_d2.data.sources import Unit
from reldn_d2.engine.prediction.attempts import Attempts
from tests.builders.commands import Captured, line_of_refusal, run_reldn
from tests.builders.picture_sources import web_server


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of two sizes, and a file that is none."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(10):
        size = ((48, 64, 3), (64, 48, 3))[number % 3 == 0]
        Image.fromarray(random.integers(0, 255, size, dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "5_damaged.png").write_bytes(b"no picture")
    return folder


def words(images: Path, output: Path, *more: object, weights: str = "scenes-tiny") -> list[object]:
    return [
        *("predict", "--weights", weights, "--input", images, "--output", output, "--device", "cpu"),
        *("--format", "shards", "--shard-size", "4", "--score-threshold", "0", *more),
    ]


def tables(output: Path) -> dict[str, pa.Table]:
    return {path.name: pyarrow.parquet.read_table(path) for path in (output / "shards").iterdir()}


@pytest.fixture(scope="module")
def one_process(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, pa.Table]]:
    """The tables of one process, by batch size."""
    found = {}
    for batch_size in (1, 4):
        output = tmp_path_factory.mktemp("one")
        assert run_reldn(*words(images, output, "--batch-size", batch_size)) == 1
        found[batch_size] = tables(output)
    assert sum(x.num_rows for x in found[1].values()) == 11
    assert sum(len(x) for t in found[1].values() for x in t.column("relationships").to_pylist() if x) > 50
    return found


@pytest.mark.parametrize(("workers", "batch_size"), [("1", 1), ("2", 4)])
@pytest.mark.usefixtures("ray_session")
def test_answers_on_ray_equal_those_of_one_process(
    workers: str,
    batch_size: int,
    images: Path,
    one_process: Any,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The workers have another working directory.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").touch()
    weights = os.path.relpath(Path(reldn_d2.__file__).parent / "model_zoo" / "weights" / "scenes-tiny")
    options = ("--engine", "ray", "--batch-size", batch_size, "--import", "own.py")
    tmp_path /= "out"
    assert run_reldn(*words(images, tmp_path, *options, "--workers", workers, weights=weights)) == 1
    assert tables(tmp_path) == one_process[batch_size]
    out, err = capsys.readouterr()
    assert "predicted the scene graphs of 10 of 11 images; the results are in" in out
    assert "5_damaged.png cannot be read" in err
    # Either engine goes on, and the other one finds everything done.
    lost = sorted((tmp_path / "shards").iterdir())[1]
    lost.unlink()
    again = options if workers == "2" else ("--batch-size", batch_size)
    assert run_reldn(*words(images, tmp_path, *again, "--resume")) == 1
    assert "(7 of them before)" in capsys.readouterr().out
    assert tables(tmp_path) == one_process[batch_size]
    assert run_reldn(*words(images, tmp_path, "--batch-size", batch_size, "--resume")) == 1
    assert "(11 of them before)" in capsys.readouterr().out


def test_answers_of_two_processes_equal_those_of_one(images: Path, one_process: Any, tmp_path: Path) -> None:
    assert run_reldn(*words(images, tmp_path, "--num-gpus", "2", "--batch-size", "4")) == 1
    assert tables(tmp_path) == one_process[4]


@pytest.mark.usefixtures("ray_session")
def test_a_stage_of_an_own_pipeline(images: Path, one_process: Any) -> None:
    import ray

    from reldn_d2.engine.prediction.ray_pipeline import RelDNActor
    from reldn_d2.engine.prediction.shard_worker import ShardOptions

    paths = sorted(images.iterdir())
    found = (
        ray.data.from_items([{"name": x.name, "content": x.read_bytes()} for x in paths])
        .map_batches(
            RelDNActor,
            fn_constructor_kwargs={
                "model": "scenes-tiny",
                "image_column": "content",
                "options": ShardOptions(score_threshold=0.0),
                "device": "cpu",
            },
            batch_size=4,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        .take_all()
    )
    expected = {Path(x["path"]).name: x for t in one_process[1].values() for x in t.to_pylist()}
    assert {x["name"] for x in found} == expected.keys()
    for row in found:
        wanted = expected[row["name"]]
        names = ("width", "height", "entities", "relationships")
        assert {name: row[name] for name in names} == {name: wanted[name] for name in names}
        assert (row["error"] is None) == (wanted["error"] is None)


@pytest.mark.usefixtures("ray_session")
def test_a_worker_for_which_no_node_has_room(images: Path, tmp_path: Path, capsys: Captured) -> None:
    output = tmp_path / "out"
    for option, needed in (
        (("--worker-cpus", "3"), "needs 3 CPUs"),
        (("--worker-gpus", "1"), "1 GPUs"),
        (("--worker-memory", "100000"), "100000.0 GiB"),
    ):
        message = line_of_refusal(capsys, *words(images, output, "--engine", "ray", *option))
        assert message.startswith("no node of the cluster has room for one worker") and needed in message
        assert "The nodes have: 2 CPUs" in message
    assert not output.exists()


def test_an_address_without_a_cluster(images: Path, tmp_path: Path, capsys: Captured) -> None:
    pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'reldn-d2[ray]'")

    def said(address: str) -> str:
        output = tmp_path / "out"
        return line_of_refusal(capsys, *words(images, output, "--engine", "ray", "--address", address))

    assert "--address 127.0.0.1:1: no cluster answers there" in said("127.0.0.1:1")
    assert "give HOST:PORT" in said("here")
    assert "Ray's client is not used here" in said("ray://127.0.0.1:10001")
    with web_server(tmp_path) as other:
        assert "(what answers is no cluster of Ray)" in said(other.removeprefix("http://"))
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("ray_session")
def test_an_error_of_a_worker_ends_the_command(
    images: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker finds other weights than the command, as on a machine with another copy."""
    monkeypatch.setattr("reldn_d2.cli.prediction.shards._identity", lambda *_: {"weights (sha256)": "other"})
    message = line_of_refusal(capsys, *words(images, tmp_path, "--engine", "ray"))
    assert "has other weights here" in message and "(other)" in message


def test_a_stage_does_not_add_a_column_twice() -> None:
    pipeline = pytest.importorskip("reldn_d2.engine.prediction.ray_pipeline", reason="Ray is not installed")
    stage = pipeline.RelDNActor("scenes-tiny", "image", device="cpu")
    with pytest.raises(ValueError, match="the rows have width, error already: rename or drop these columns"):
        stage(pa.table({"image": [b"x"], "error": [""], "width": [1]}))


class _Job:
    """A job of a worker that can't load its model."""

    def __init__(self, output: Path, error: BaseException) -> None:
        self.output, self._error = output, error

    def worker(self) -> None:
        raise self._error


def error_of_worker(job: Any, monkeypatch: pytest.MonkeyPatch, *, again: bool) -> Any:
    """What a worker reports in this process, which stands for one that Ray starts, or starts again."""
    pipeline = pytest.importorskip("reldn_d2.engine.prediction.ray_pipeline", reason="Ray is not installed")
    context = SimpleNamespace(was_current_actor_reconstructed=again, get_actor_id=lambda: "abc")
    monkeypatch.setattr(pipeline.ray, "get_runtime_context", lambda: context)
    report = pipeline._UnitActor(job, torch.get_num_threads())(pa.table({"unit": [pickle.dumps(None)]}))
    return pickle.loads(report.column("report")[0].as_py())


def test_a_worker_that_dies_while_it_loads_the_model_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would start it again without end."""

    class DeathError(BaseException):
        pass

    # A killed process leaves the count as it is.
    monkeypatch.setattr(Attempts, "_write_if_possible", lambda _: None)
    with pytest.raises(DeathError):
        error_of_worker(_Job(tmp_path, DeathError()), monkeypatch, again=False)
    for _ in range(3):
        with pytest.raises(DeathError):
            error_of_worker(_Job(tmp_path, DeathError()), monkeypatch, again=True)
    said = str(error_of_worker(_Job(tmp_path, DeathError()), monkeypatch, again=True))
    assert said.startswith("a worker died 4 times while it loaded the model")


def test_an_error_that_nobody_expects_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = error_of_worker(_Job(tmp_path, KeyError("part")), monkeypatch, again=False)
    assert str(error) == "a worker failed (KeyError: 'part'; --verbose shows where)"
    assert "raise self._error" in error.__notes__[0]


def test_a_list_that_can_not_be_read_to_its_end_is_named() -> None:
    pipeline = pytest.importorskip("reldn_d2.engine.prediction.ray_pipeline", reason="Ray is not installed")

    def units(_: int) -> Any:
        yield Unit("", 0, 1, ("a.png",))
        raise ValueError("the connection is gone")

    found = list(pipeline._tables_of_units(SimpleNamespace(units=units), 9))
    unit, error = (pickle.loads(table.column("unit")[0].as_py()) for table in found)
    assert unit.paths == ("a.png",) and str(error) == "the connection is gone"
