"""The workspaces of the documentation's blocks.

A fixture `workspace_NAME` is for the blocks of a page with the mark `run: NAME`. It fills their working
directory with what the page supposes, and returns the variables that Python blocks take from the reader.
"""

import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from detectron2.modeling import build_model

from reldn_d2.data import RelationDatasetMapper, register_vrd, save_coco_relations
from reldn_d2.engine import load_config, load_model
from reldn_d2.evaluation import GroundTruthGraph
from tests.builders.commands import run_reldn
from tests.builders.dataset_formats import vrd
from tests.builders.dataset_formats.damage import Damage
from tests.builders.tiny_models import REPOSITORY

from .blocks import blocks
from .reduced import SMALL, TINY_SCENES, reduced

Variables = dict[str, Any]
CONFIGS = REPOSITORY / "configs" / "scenes"


@pytest.fixture(scope="session")
def trained(own_folders: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with output/scenes/detector and output/scenes/reldn, both trained for two steps."""
    folder = tmp_path_factory.mktemp("trained")
    detector = "train --config-file scenes/detector.yaml"
    relations = "train --config-file scenes/reldn.yaml --weights output/scenes/detector"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in (detector, relations):
            assert run_reldn(*reduced(command.split())) == 0
    return folder


def link_run(source: Path, target: Path) -> None:
    """Copies the folder of a run. Checkpoints, which are large, become links."""

    def copy(file: str, to: str) -> None:
        os.link(file, to) if file.endswith(".pth") else shutil.copy2(file, to)

    shutil.copytree(source, target, copy_function=copy)


@pytest.fixture
def workspace_empty_folder() -> Variables:
    return {}


@pytest.fixture
def workspace_own_loop() -> Variables:
    """docs/own_loop.md makes its photos itself."""
    return {}


@pytest.fixture
def workspace_scenes(trained: Path, tmp_path: Path) -> Variables:
    """The folder after the first block of docs/training.md."""
    link_run(trained / "output", tmp_path / "output")
    return {}


@pytest.fixture
def workspace_demo(trained: Path, tmp_path: Path) -> Variables:
    """The folder after `make demo`, as far as pages use it."""
    demo = tmp_path / "output" / "demo"
    link_run(trained / "output" / "scenes" / "detector", demo / "detector")
    for model in ("semantic_spatial", "reldn_l0", "reldn"):
        link_run(trained / "output" / "scenes" / "reldn", demo / model)
    samples = demo / "samples"
    samples.mkdir()
    for number, image in enumerate(DatasetCatalog.get("reldn_scenes_tiny_test")[:2]):
        shutil.copy(image["file_name"], samples / f"scene_{number}.png")
    return {}


@pytest.fixture
def workspace_formats() -> Variables:
    return {}


@pytest.fixture
def workspace_use(tmp_path: Path) -> Variables:
    """A folder with a photo, and a file that is no image. docs/use.md makes the rest itself."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    image = DatasetCatalog.get("reldn_scenes_tiny_test")[0]
    shutil.copy(image["file_name"], tmp_path / "photos" / "more" / "b.png")
    (tmp_path / "photos" / "notes.md").write_text("no image")
    return {}


def write_party(folder: Path, **renamed: str) -> None:
    """train.json, test.json, images/ and README's party.yaml: a few scenes, as a reader's own data.

    Args:
        folder: where to write.
        renamed: new names of entity classes.
    """
    images = folder / "images"
    images.mkdir()
    for split, count in (("train", 4), ("test", 2)):
        name = f"reldn_scenes_tiny_{split}"
        dataset_dicts = [{**image} for image in DatasetCatalog.get(name)[:count]]
        for image in dataset_dicts:
            file = images / f"{split}_{Path(image['file_name']).name}"
            shutil.copy(image["file_name"], file)
            image["file_name"] = str(file)
        known = MetadataCatalog.get(name)
        things = [renamed.get(thing, thing) for thing in known.thing_classes]
        metadata = Metadata(thing_classes=things, predicate_classes=known.predicate_classes)
        save_coco_relations(dataset_dicts, metadata, folder / f"{split}.json", images)
    (party,) = [block for block in blocks() if (block.page, block.mark) == ("README.md", "file: party.yaml")]
    (folder / "party.yaml").write_text(party.text)


@pytest.fixture
def workspace_party(tmp_path: Path) -> Variables:
    write_party(tmp_path)
    return {}


@pytest.fixture
def workspace_label_studio(tmp_path: Path) -> Variables:
    """The images of `write_party`, those of its test split in a folder of their own."""
    write_party(tmp_path)
    (tmp_path / "test_images").mkdir()
    for image in (tmp_path / "images").glob("test_*"):
        image.rename(tmp_path / "test_images" / image.name)
    return {}


@pytest.fixture
def workspace_reuse(tmp_path: Path) -> Variables:
    (tmp_path / "my_faster_rcnn.yaml").write_text(f"_BASE_: {CONFIGS / 'detector.yaml'}\n")
    return {}


@pytest.fixture
def workspace_own_trainer(trained: Path, tmp_path: Path) -> Variables:
    """A config of the reader, with a trained detector."""
    weights = str(trained / "output/scenes/detector/model_final.pth")
    write_config(tmp_path / "my.yaml", "reldn.yaml", {**TINY_SCENES, "MODEL.WEIGHTS": weights})
    (tmp_path / "my_output").mkdir()
    cfg = load_config(str(tmp_path / "my.yaml"), ["OUTPUT_DIR", str(tmp_path / "my_output")])
    return {"cfg": cfg}


@pytest.fixture
def workspace_evaluation_loop(trained: Path) -> Variables:
    """A RelDN with its config for prdcls, and its test set."""
    task = ["MODEL.ROI_RELATION_HEAD.TEST.TASK", "prdcls"]
    weights = ["MODEL.WEIGHTS", str(trained / "output/scenes/reldn/model_final.pth")]
    cfg = load_config(str(trained / "output/scenes/reldn/config.yaml"), [*task, *weights])
    tiny = MetadataCatalog.get("reldn_scenes_tiny_test")
    DatasetCatalog.register("my_test", lambda: DatasetCatalog.get("reldn_scenes_tiny_test"))
    names = {"thing_classes": tiny.thing_classes, "predicate_classes": tiny.predicate_classes}
    MetadataCatalog.get("my_test").set(evaluator_type="relation", **names)
    return {"cfg": cfg, "model": load_model(cfg)}


@pytest.fixture
def workspace_evaluators(workspace_evaluation_loop: Variables) -> Variables:
    cfg, model = workspace_evaluation_loop["cfg"], workspace_evaluation_loop["model"]
    mapper = RelationDatasetMapper(cfg, is_train=False)
    return {"model": model, "mapper": mapper, "dataset_dicts": DatasetCatalog.get("reldn_scenes_tiny_test")}


@pytest.fixture
def workspace_two_runs(trained: Path, tmp_path: Path) -> Variables:
    """Two runs that were evaluated in prdcls."""
    for run in ("contrastive", "baseline"):
        link_run(trained / "output" / "scenes" / "reldn", tmp_path / run)
        assert run_reldn("evaluate", "--weights", tmp_path / run, "--task", "prdcls") == 0
    return {}


@pytest.fixture
def workspace_golden_cases(tmp_path: Path) -> Variables:
    """The golden cases, and an evaluator that knows nothing of this package: R@K and ngR@K of `motifs`."""

    def overlap(a: list[int], b: list[int]) -> float:
        width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1 for i in (0, 1))
        shared = max(width, 0) * max(height, 0)
        return shared / (sum((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)) - shared)

    def hits(triplet: tuple[Any, ...], truth: tuple[Any, ...]) -> bool:
        return triplet[:3] == truth[:3] and all(overlap(triplet[i], truth[i]) >= 0.5 for i in (3, 4))

    def my_evaluator(case: dict[str, Any]) -> dict[str, float]:
        found, evaluated = {}, [image for image in case["images"] if image["truth"]["relations"]]
        for prefix, limit, k in (
            (prefix, limit, k) for prefix, limit in (("", 1), ("ng", 99)) for k in (20, 50)
        ):
            shares = []
            for image in evaluated:
                listed, truths = variables["triplets"](image, limit)[:k], variables["relationships"](image)
                shares.append(sum(any(hits(x, truth) for x in listed) for truth in truths) / len(truths))
            found[f"{prefix}R@{k}"] = 100 * sum(shares) / len(shares)
        variables["evaluated"].append(case["name"])
        return found

    shutil.copytree(REPOSITORY / "reldn_d2" / "evaluation" / "golden", tmp_path / "golden")
    variables: Variables = {"my_evaluator": my_evaluator, "evaluated": []}
    return variables


@pytest.fixture
def workspace_predictions_of_another_model() -> Variables:
    """One image with two people and two cups, and the probabilities of two predicates for each pair."""
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [0, 20, 10, 30], [20, 20, 30, 30]], dtype=np.float32)
    classes = np.array([0, 0, 1, 1])
    relations = np.array([[0, 2, 0], [1, 3, 0]])
    return {
        "boxes": boxes,
        "classes": classes,
        "score": np.array([0.9, 0.8, 0.7, 0.6], dtype=np.float32),
        "subject": np.array([0, 0, 1, 1]),
        "object": np.array([2, 3, 2, 3]),
        "predicate_probs": np.array([[0.9, 0.1], [0.2, 0.1], [0.1, 0.1], [0.8, 0.2]], dtype=np.float32),
        "truth": GroundTruthGraph(boxes, classes, relations),
        "my_scores": np.array([0.1, 0.2, 0.1, 0.2], dtype=np.float32),
        "detected": np.ones(4, dtype=bool),
        "true_boxes": boxes,
        "true_classes": classes,
        "relations": relations,
        "predicate_names": ["holds", "near"],
    }


@pytest.fixture
def workspace_library() -> Variables:
    return {}


@pytest.fixture
def workspace_annotations_alone(tmp_path: Path) -> Iterator[Variables]:
    """VRD's layout without pictures, and a table of their sizes."""
    vrd.write(tmp_path, Damage.NONE)
    shutil.rmtree(tmp_path / "sg_dataset")
    (tmp_path / "sizes.csv").write_text("image_id,width,height\na.jpg,40,30\nb.jpg,40,30\nc.jpg,40,30\n")
    register_vrd("my_vrd_test", tmp_path, "train")
    yield {}
    for catalog in (DatasetCatalog, MetadataCatalog):
        catalog.remove("my_vrd_test")


def _two_images(num_predicates: int) -> Variables:
    """A model with 3 and 4 entities in two images, all their ordered pairs, and logits that are all wrong.

    In each image entity 0 is related to entity 1. The last entity of the second image is another detection of
    its entity 2.
    """
    rows = [torch.tensor([(a, b) for a in range(n) for b in range(n) if a != b]) for n in (3, 4)]
    labels = torch.full((len(rows[0]) + len(rows[1]),), num_predicates)
    labels[0] = labels[len(rows[0])] = 4
    logits = torch.randn(len(labels), num_predicates + 1)
    logits[labels == 4, num_predicates] += 10
    logits[labels == num_predicates, 4] += 10
    return {
        "boxes": [torch.rand(3, 4).cumsum(dim=1), torch.rand(4, 4).cumsum(dim=1)],
        "classes": [torch.tensor([0, 149, 149]), torch.tensor([0, 1, 1, 1])],
        "image_sizes": [(4, 4), (4, 4)],
        "pair_rows": rows,
        "labels": labels,
        "logits": logits,
        "matched": torch.tensor([0, 1, 2, 0, 1, 2, 2]),
        "relations": [torch.tensor([[0, 1, 4]])] * 2,
        "num_ground_truth": [3, 3],
        "scores": torch.tensor([0.9, 0.8, 0.7, 0.6]),
        "my_model": lambda subject, object: torch.randn(len(subject), num_predicates + 1),
    }


@pytest.fixture
def workspace_another_model() -> Variables:
    return _two_images(num_predicates=50)


@pytest.fixture
def workspace_first_background() -> Variables:
    known = _two_images(num_predicates=50)
    return {"logits": known["logits"].roll(1, dims=1), "labels": (known["labels"] + 1) % 51, "known": known}


@pytest.fixture
def workspace_graphs_of_another_model() -> Variables:
    """A person who holds the first of two cups, as annotation and as prediction."""
    boxes, classes = np.array([[0, 0, 50, 90], [40, 30, 50, 40], [70, 30, 80, 40]]), np.array([0, 1, 1])
    annotations = [
        {"bbox": box, "bbox_mode": 0, "category_id": c} for box, c in zip(boxes, classes, strict=True)
    ]
    images = [{"image_id": 7, "annotations": annotations, "relations": [(0, 1, 0)]}]
    DatasetCatalog.register("my_test", lambda: images)
    MetadataCatalog.get("my_test").set(thing_classes=["person", "cup"], predicate_classes=["holds", "near"])
    return {
        "boxes": boxes,
        "classes": classes,
        "scores": np.array([0.9, 0.8, 0.7]),
        "subject": np.array([0, 0]),
        "object": np.array([1, 2]),
        "probs": np.array([[0.8, 0.1], [0.2, 0.6]]),
        "true_boxes": boxes,
        "true_classes": classes,
        "relations": np.array([[0, 1, 0]]),
    }


@pytest.fixture
def workspace_photo() -> Variables:
    return {"photo": np.full((90, 80, 3), 128, dtype=np.uint8), "boxes": [[0, 0, 50, 90], [40, 30, 50, 40]]}


@pytest.fixture
def workspace_registration() -> Variables:
    return {}


@pytest.fixture
def workspace_list_of_images(tmp_path: Path) -> Variables:
    (tmp_path / "challenge-2018-train-vrd.csv").write_text("ImageID,LabelName1\nb,/m/1\na,/m/1\nb,/m/2\n")
    return {}


@pytest.fixture
def workspace_contrastive_term() -> Variables:
    return {}


@pytest.fixture
def workspace_own_head(workspace_scenes: Variables) -> Variables:
    return {}


def write_config(path: Path, base: str, values: dict[str, str] | None = None) -> None:
    """Writes a config of the reader: one of the scenes, reduced, with other values of some keys."""
    options = [word for pair in (SMALL | (values or {})).items() for word in pair]
    path.write_text(load_config(str(CONFIGS / base), options).dump())


@pytest.fixture
def workspace_other_classes(trained: Path, tmp_path: Path) -> Variables:
    """An old RelDN, and data that have mugs instead of cups."""
    write_party(tmp_path, cup="mug")
    write_config(tmp_path / "my_detector.yaml", "detector.yaml")
    write_config(tmp_path / "my_reldn.yaml", "reldn.yaml")
    os.link(trained / "output/scenes/reldn/model_final.pth", tmp_path / "old_reldn.pth")
    return {}


@pytest.fixture
def workspace_retinanet(trained: Path, tmp_path: Path) -> Variables:
    """A RetinaNet with random weights, a trained Faster R-CNN, and a file that registers own data."""
    write_party(tmp_path)
    (tmp_path / "my_data.py").write_text(
        "from reldn_d2.data import register_coco_relations\n"
        'register_coco_relations("my_train", {}, "train.json", "images")\n'
        'register_coco_relations("my_test", {}, "test.json", "images")\n'
    )
    sets = {"DATASETS.TRAIN": "('my_train',)", "DATASETS.TEST": "('my_test',)"}
    write_config(tmp_path / "my_reldn.yaml", "reldn.yaml", sets)
    architecture = {
        "MODEL.META_ARCHITECTURE": "RetinaNet",
        "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
        "MODEL.RESNETS.OUT_FEATURES": "['res3', 'res4', 'res5']",
        "MODEL.FPN.IN_FEATURES": "['res3', 'res4', 'res5']",
        "MODEL.ANCHOR_GENERATOR.SIZES": "[[32], [64], [128], [256], [512]]",
        "MODEL.RETINANET.NUM_CLASSES": "6",
    }
    write_config(tmp_path / "my_retinanet.yaml", "detector.yaml", sets | architecture)
    model = build_model(load_config(str(tmp_path / "my_retinanet.yaml")))
    torch.save({"model": model.state_dict()}, tmp_path / "retinanet.pth")
    os.link(trained / "output/scenes/detector/model_final.pth", tmp_path / "faster_rcnn.pth")
    return {}


@pytest.fixture
def workspace_checkpoint_without_names(tmp_path: Path) -> Variables:
    model = {"backbone.weight": np.ones(3, dtype=np.float32)}
    (tmp_path / "model_final_280758.pkl").write_bytes(
        pickle.dumps({"model": model, "__author__": "somebody"})
    )
    (tmp_path / "coco_names.txt").write_text("person\nbicycle\n")
    return {}


@pytest.fixture
def workspace_boxes_of_a_detector() -> Variables:
    tiny = MetadataCatalog.get("reldn_scenes_tiny_test")

    def my_detector(image_id: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.array([[1.0, 2.0, 30.0, 40.0]]), np.array([0.5]), np.array([0])

    image_ids = [image["image_id"] for image in DatasetCatalog.get("reldn_scenes_tiny_test")]
    return {"image_ids": image_ids, "my_detector": my_detector, "thing_classes": tiny.thing_classes}
