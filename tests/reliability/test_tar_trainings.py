"""A training on tar files, killed and resumed, ends as one on files that was not disturbed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.data import register_coco_relations, save_coco_relations
from tests.builders.image_tars import pack
from tests.builders.mixed_pictures import NAMES, register_mixed_pictures
from tests.reliability.interrupted import End, Run, train


def register(folder: Path, images: dict[str, str]) -> None:
    """Registers the data sets. The processes of the trainings are forked, and inherit them."""
    for name in NAMES:
        forget(name)
        register_coco_relations(name, {}, folder / f"{name}.json", images[name])


def forget(name: str) -> None:
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
    MetadataCatalog.pop(name, None)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The data sets as annotation files, with pictures in a folder and in tar files."""
    for name in NAMES:
        forget(name)
    register_mixed_pictures(tmp_path)
    for name in NAMES:
        save_coco_relations(
            DatasetCatalog.get(name), MetadataCatalog.get(name), tmp_path / f"{name}.json", tmp_path
        )
        pack(sorted(tmp_path.glob(f"{name}_*.png")), tmp_path / "shards", per_tar=3, name=name)
    yield tmp_path
    for name in NAMES:
        forget(name)


@pytest.mark.slow
def test_it_ends_as_an_undisturbed_training_on_files(folder: Path, small_weights: str) -> None:
    run = Run("yaml", "reldn", small_weights)
    files, tars = (
        dict.fromkeys(NAMES, str(folder)),
        {x: str(folder / "shards" / f"{x}-*.tar") for x in NAMES},
    )
    register(folder, files)
    assert train(run, folder, folder / "files")
    # It begins on files, too: the same pictures are the same run.
    killed = folder / "killed"
    assert not train(run, folder, killed, kill=("step", 4))
    register(folder, tars)
    for file in folder.glob("*.png"):
        file.unlink()
    assert not train(run, folder, killed, resume=True, kill=("step", 7), workers=2)
    assert train(run, folder, killed, resume=True)
    assert train(run, folder, folder / "tars", workers=2)
    wanted = End.of(folder / "files")
    for output in ("killed", "tars"):
        found = End.of(folder / output)
        assert found.taken == wanted.taken and found.metrics == wanted.metrics
        assert found.results == wanted.results and found.results
        assert found.weights.keys() == wanted.weights.keys()
        assert all(found.weights[name].equal(wanted.weights[name]) for name in wanted.weights)
