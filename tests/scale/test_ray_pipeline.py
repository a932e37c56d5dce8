"""Prediction on Ray Data: the answers of one process, bit by bit, and what is refused before reading."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from tests.builders.commands import Captured, line_of_refusal, run_reldn


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


def words(images: Path, output: Path, *more: object) -> list[object]:
    return [
        *("predict", "--weights", "scenes-tiny", "--input", images, "--output", output, "--device", "cpu"),
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
    workers: str, batch_size: int, images: Path, one_process: Any, tmp_path: Path, capsys: Captured
) -> None:
    options = ("--engine", "ray", "--workers", workers, "--batch-size", batch_size)
    assert run_reldn(*words(images, tmp_path, *options)) == 1
    assert tables(tmp_path) == one_process[batch_size]
    out, err = capsys.readouterr()
    assert "predicted the scene graphs of 10 of 11 images; the results are in" in out
    assert "5_damaged.png cannot be read" in err
    # The same command goes on, and the other engine finds everything done.
    lost = sorted((tmp_path / "shards").iterdir())[1]
    lost.unlink()
    assert run_reldn(*words(images, tmp_path, *options, "--resume")) == 1
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
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("ray_session")
def test_an_error_of_a_worker_ends_the_command(
    images: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker finds other weights than the command, as on a machine with another copy."""
    monkeypatch.setattr("reldn_d2.cli.prediction.shards._identity", lambda *_: {"weights (sha256)": "other"})
    message = line_of_refusal(capsys, *words(images, tmp_path, "--engine", "ray"))
    assert "has other weights here" in message and "(other)" in message
