"""Pictures that can't be read in an evaluation: named, or excluded and counted."""

import csv
import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog, build_detection_test_loader
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.modeling import build_model
from PIL import Image

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.data.chosen_batches import ChosenBatches, ListedBatches, UnreadableImageError
from reldn_d2.engine import Trainer, evaluate, load_config, parts_of
from reldn_d2.engine.run import test as run_test
from reldn_d2.evaluation import RelationEvaluator, load_per_image, load_predictions
from tests.builders.commands import Captured, line_of_refusal
from tests.builders.stopped_evaluations import COUNTS, SMALL, TEST_SET, computed, evaluated, files, shards
from tests.builders.tiny_models import REPOSITORY, TinyConfig, calm_down, make_model

COPY, REST = "scenes_with_bad_pictures", "scenes_without_them"
LAZY = REPOSITORY / "tests" / "builders" / "tiny_lazy.py"


@pytest.fixture
def copies(tmp_path: Path) -> list[Path]:
    """The pictures of `COPY`: the 8 scenes for tests, in a folder of their own."""
    images = deepcopy(DatasetCatalog.get(TEST_SET))
    for image in images:
        image["file_name"] = shutil.copy(image["file_name"], tmp_path)
    register(COPY, images)
    return [Path(image["file_name"]) for image in images]


def register(name: str, images: list[dict[str, Any]]) -> None:
    theirs = MetadataCatalog.get(TEST_SET)
    names = {key: theirs.get(key) for key in ("thing_classes", "predicate_classes", "train_dataset")}
    DatasetCatalog.register(name, lambda: images)
    MetadataCatalog.get(name).set(**names)


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def of_another_size(path: Path) -> None:
    Image.new("RGB", (7, 9)).save(path)


def without(images: set[int]) -> str:
    """Registers the data set that the images are missing from. Returns its name."""
    register(REST, [x for x in DatasetCatalog.get(COPY) if x["image_id"] not in images])
    return REST


@pytest.fixture
def counts(tiny_config: TinyConfig, copies: list[Path]) -> CfgNode:
    """A config whose evaluation of `COPY` takes a moment."""
    cfg = tiny_config(*SMALL, file="frequency.yaml")
    cfg.MODEL.ROI_RELATION_HEAD.TEST.TASK, cfg.DATASETS.TEST = "prdcls", (COPY,)
    return cfg


# --- named


@pytest.mark.parametrize(
    ("damage", "said", "workers"),
    [
        (damaged, "cannot be read (image file is truncated", 1),
        (Path.unlink, "does not exist", 0),
        (of_another_size, "the picture has 7 x 9 pixels, but width and height", 0),
    ],
)
def test_an_unreadable_picture_names_itself_and_the_predictions_before_it_are_kept(
    counts: CfgNode, copies: list[Path], damage: Callable[[Path], None], said: str, workers: int
) -> None:
    counts.DATALOADER.NUM_WORKERS = workers
    damage(copies[5])
    with pytest.raises(ValueError, match=said.split("(")[0]) as caught, computed() as found:
        evaluate(counts)
    assert found == [0, 1, 2, 3, 4]
    message = str(caught.value)
    folder = Path(counts.OUTPUT_DIR, "inference", "unfinished")
    assert said in message and str(copies[5]) in message and "\n" not in message
    assert message.endswith(
        f". It is image 5 of {COPY}. The 5 predictions before it are kept in {folder}, and the same "
        "evaluation goes on from there. To exclude unreadable images, add TEST.SKIP_UNREADABLE True "
        "(--skip-unreadable of `reldn evaluate`)"
    )
    counts.TEST.SKIP_UNREADABLE = True
    for path in copies[:5]:
        path.unlink()  # pictures of saved predictions are not opened again
    with computed() as found:
        evaluate(counts)
    assert found == [6, 7]
    listed = json.loads((folder.parent / COPY / "unreadable_images.json").read_text())
    assert [x["image_id"] for x in listed["unreadable"]] == [5]


@pytest.mark.slow
def test_a_mended_picture_needs_no_option(counts: CfgNode, copies: list[Path], tmp_path: Path) -> None:
    whole = copies[5].read_bytes()
    damaged(copies[5])
    with pytest.raises(ValueError, match="cannot be read"):
        evaluate(counts)
    copies[5].write_bytes(whole)
    with computed() as found:
        results = evaluate(counts)
    assert found == [5, 6, 7]
    counts.OUTPUT_DIR = str(tmp_path / "other")
    assert evaluate(counts) == results


def test_the_command_says_it_in_one_line(copies: list[Path], tmp_path: Path, capsys: Captured) -> None:
    damaged(copies[2])
    words = [*COUNTS, *SMALL, "--dataset", COPY, "--output", tmp_path / "run"]
    words = [word for word in words if word not in ("DATASETS.TEST", f"('{TEST_SET}',)")]
    message = line_of_refusal(capsys, "evaluate", *words)
    assert message.startswith(f"Image {copies[2]} cannot be read (")
    assert "The 2 predictions before it are kept in" in message
    damaged(copies[4])
    assert evaluated(tmp_path / "run", *words, "--skip-unreadable") == [3, 5, 6, 7]
    screen = capsys.readouterr().out
    assert f"{COPY}: 2 of 8 images were unreadable and are excluded: every number is of the others." in screen


# --- excluded


def table(folder: Path) -> list[list[str]]:
    with (folder / "relation_results.csv").open() as file:
        return list(csv.reader(file))


def test_every_number_is_that_of_the_data_without_the_excluded_images(
    counts: CfgNode, copies: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged(copies[0])
    copies[6].unlink()
    counts.TEST.SKIP_UNREADABLE = True
    # A batch with an excluded image, one without any other, and a whole one.
    counts.TEST.IMS_PER_BATCH = 2
    with computed(4) as found:
        evaluate(counts)
    assert found == [1, 2, 3]
    # Image 0 was excluded from the batch of image 1, which is looked at again.
    with computed() as found:
        results = evaluate(counts)
    assert found == [1, 4, 5, 7]
    folder = Path(counts.OUTPUT_DIR, "inference")
    of_data_set = folder / COPY
    note = "2 of 8 images were unreadable and are excluded: every number is of the others."
    assert note in (of_data_set / "prdcls" / "relation_results.md").read_text()
    assert f"{COPY}: {note}" in (folder / "summary.md").read_text()
    assert json.loads((folder / "summary.json").read_text())["notes"] == [f"{COPY}: {note}"]
    listed = json.loads((of_data_set / "unreadable_images.json").read_text())
    assert listed["images"] == 8
    assert [(x["image_id"], x["file_name"]) for x in listed["unreadable"]] == [
        (0, str(copies[0])),
        (6, str(copies[6])),
    ]
    assert "2 of 8 images are unreadable and excluded" in caplog.text and str(copies[6]) in caplog.text
    counts.DATASETS.TEST, counts.OUTPUT_DIR = (without({0, 6}),), str(tmp_path / "rest")
    assert evaluate(counts) == results
    rest = tmp_path / "rest" / "inference" / REST / "prdcls"
    assert table(rest) == table(of_data_set / "prdcls")
    saved = [load_predictions(x / "relation_predictions.npz") for x in (rest, of_data_set / "prdcls")]
    assert [*saved[0].predictions] == [*saved[1].predictions]
    recalls = [load_per_image(x / "relation_per_image.json") for x in (rest, of_data_set / "prdcls")]
    assert recalls[0]["motifs"].image_ids == recalls[1]["motifs"].image_ids


@pytest.mark.slow
def test_a_later_evaluation_without_damage_says_nothing(counts: CfgNode, copies: list[Path]) -> None:
    whole = copies[1].read_bytes()
    damaged(copies[1])
    counts.TEST.SKIP_UNREADABLE = True
    evaluate(counts)
    copies[1].write_bytes(whole)
    evaluate(counts)
    after = files(Path(counts.OUTPUT_DIR))
    assert not any("unreadable" in name or b"unreadable" in content for name, content in after.items())


def test_a_detector_is_evaluated_without_the_excluded_images(
    tiny_config: TinyConfig, copies: list[Path], tmp_path: Path
) -> None:
    cfg = tiny_config(*SMALL, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", file="detector.yaml")
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    calm_down(model)
    damaged(copies[3])
    cfg.DATASETS.TEST, cfg.TEST.SKIP_UNREADABLE = (COPY,), True
    results = run_test(parts_of(cfg), model)
    saved = Path(cfg.OUTPUT_DIR, "inference", COPY, "coco_instances_results.json").read_text()
    cfg.DATASETS.TEST, cfg.OUTPUT_DIR = (without({3}),), str(tmp_path / "rest")
    assert json.dumps(run_test(parts_of(cfg), model)) == json.dumps(results)
    assert (tmp_path / "rest" / "inference" / REST / "coco_instances_results.json").read_text() == saved


def test_several_evaluators_are_asked_one_by_one(counts: CfgNode, copies: list[Path], tmp_path: Path) -> None:
    damaged(copies[3])
    counts.TEST.SKIP_UNREADABLE = True
    parts, model = parts_of(counts), make_model(counts)
    relations = [RelationEvaluator(COPY, "prdcls", [name]) for name in ("motifs", "reldn")]
    both = run_test(parts, model, [DatasetEvaluators(relations)])
    assert [*both] == ["prdcls/motifs", "prdcls/reldn"]
    assert both["prdcls/motifs"] == run_test(parts, model, [relations[0]])["prdcls/motifs"]


def test_a_python_config_has_the_same_option(
    copies: list[Path], tiny_config: TinyConfig, tmp_path: Path
) -> None:
    damaged(copies[0])
    words = [f"datasets.test={COPY}", "model.task=prdcls", f"train.output_dir={tmp_path / 'run'}"]
    model = make_model(tiny_config())
    model.task = "prdcls"
    for skipped in (False, True):
        parts = parts_of(load_config(str(LAZY), [*words, f"train.skip_unreadable={skipped}"]))
        if skipped:
            assert run_test(parts, model)
        else:
            with pytest.raises(ValueError, match=r"add train\.skip_unreadable=True \(--skip"):
                run_test(parts, model)
    assert (tmp_path / "run" / "inference" / COPY / "unreadable_images.json").is_file()


# --- refused


def test_if_no_picture_is_readable_that_is_an_error(counts: CfgNode, copies: list[Path]) -> None:
    for path in copies:
        path.unlink()
    counts.TEST.SKIP_UNREADABLE = True
    with pytest.raises(ValueError, match=r"all 8 images are unreadable\. The first: .* does not exist"):
        evaluate(counts)


def test_other_errors_of_a_mapper_are_not_skipped(
    counts: CfgNode, copies: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(RelationDatasetMapper):
        def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
            if dataset_dict["image_id"] == 3:
                raise ValueError("a fault of the mapper")
            return super().__call__(dataset_dict)

    counts.TEST.SKIP_UNREADABLE = True
    monkeypatch.setattr(Trainer, "build_mapper", lambda cfg, is_train: Broken(cfg, is_train=is_train))
    with pytest.raises(ValueError, match=r"^a fault of the mapper$"):
        evaluate(counts)


def test_a_mapper_of_detectron2_is_understood(counts: CfgNode, copies: list[Path]) -> None:
    """Its errors are those of the library that reads pictures."""
    damaged(copies[1])
    loader = build_detection_test_loader(
        DatasetCatalog.get(COPY), mapper=DatasetMapper(counts, is_train=False)
    )
    listed = ListedBatches.of(loader)
    assert listed is not None
    with pytest.raises(UnreadableImageError, match=r"cannot be read \(image file is truncated"):
        [*ChosenBatches(listed, listed.batches, skip_unreadable=False)]


def test_whole_pictures_that_can_not_be_used_are_excluded(counts: CfgNode, copies: list[Path]) -> None:
    images = deepcopy(DatasetCatalog.get(COPY))
    Image.new("RGB", (8000, 3)).save(copies[2])
    images[2].update(width=8000, height=3)
    Image.fromarray(np.full((96, 96), 300.0, np.float32)).save(copies[4], format="TIFF")
    loader = build_detection_test_loader(images, mapper=RelationDatasetMapper(counts, is_train=False))
    listed = ListedBatches.of(loader)
    assert listed is not None
    chosen = ChosenBatches(listed, listed.batches, skip_unreadable=True)
    assert [batch[0]["image_id"] for batch in chosen] == [0, 1, 3, 5, 6, 7]
    assert [x.image_id for x in chosen.unreadable] == [2, 4]
    assert "an image of 8000 x 3 pixels can't be resized" in chosen.unreadable[0].reason
    assert "its pixels are numbers from 300.0 to 300.0" in chosen.unreadable[1].reason
    assert all(str(copies[x.position]) in x.reason for x in chosen.unreadable)


def test_an_evaluator_that_can_not_exclude_is_refused_before_anything_runs(
    counts: CfgNode, copies: list[Path]
) -> None:
    class Mine(DatasetEvaluator):
        pass

    counts.TEST.SKIP_UNREADABLE = True
    evaluators = DatasetEvaluators([RelationEvaluator(COPY, "prdcls"), Mine()])
    with pytest.raises(ValueError, match=rf"but Mine of {COPY} has no method exclude\(image_ids\)"):
        run_test(parts_of(counts), make_model(counts), [evaluators])
    assert not shards(Path(counts.OUTPUT_DIR))
