"""examples/motifs_head: a foreign relation head through the ordinary commands and tasks, at a small size."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from reldn_cli.main import main
from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.engine import import_data_sets, load_config, vocabulary_of
from reldn_d2.engine.optimizer import relation_optimizer_params
from reldn_d2.modeling import RelDN
from reldn_d2.structures import Queries
from tests.builders.tiny_models import REPOSITORY

PROJECT = REPOSITORY / "examples" / "motifs_head"
IMPORT = ["--import", str(PROJECT / "motifs_head.py")]
CONFIG = ["--config-file", str(PROJECT / "motifs.yaml")]
TRAIN, TEST = "reldn_scenes_tiny_train", "reldn_scenes_tiny_test"
SMALL = {
    "MODEL.FPN.OUT_CHANNELS": "16",
    "MODEL.ROI_BOX_HEAD.FC_DIM": "32",
    "MODEL.MOTIFS_HEAD.HIDDEN_SIZE": "16",
    "MODEL.RPN.POST_NMS_TOPK_TEST": "30",
    "TEST.DETECTIONS_PER_IMAGE": "12",
    "INPUT.MIN_SIZE_TRAIN": "(96,)",
    "INPUT.MIN_SIZE_TEST": "96",
    "DATASETS.TRAIN": f"('{TRAIN}',)",
    "DATASETS.TEST": f"('{TEST}',)",
    "DATALOADER.NUM_WORKERS": "0",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.BASE_LR": "0.001",
    "SOLVER.MAX_ITER": "2",
    "SOLVER.STEPS": "()",
    "SOLVER.WARMUP_ITERS": "0",
}
CONTRASTIVE = {"MODEL.ROI_RELATION_HEAD.LOSS.CLASS_AGNOSTIC.WEIGHT": "1.0"}


def words(**keys: str) -> list[str]:
    """Overrides of a command; `__` stands for a dot."""
    chosen = SMALL | {key.replace("__", "."): value for key, value in keys.items()}
    return [word for pair in chosen.items() for word in pair]


def reldn(*command: object) -> None:
    assert main([str(word) for word in command]) == 0


def make(**keys: str) -> RelDN:
    """The model with random weights."""
    import_data_sets(IMPORT[1])
    torch.manual_seed(0)
    cfg: Any = load_config(CONFIG[1], words(MODEL__WEIGHTS="", **keys))
    model: RelDN = build_model(cfg).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("conv2.weight"):
                parameter.mul_(0.1)  # without trained normalisation, features would explode
    head: Any = model.relation_head
    head.set_predicate_counts(torch.randint(5, tuple(head.frequency.log_prior.shape)).numpy())
    return model


def image(boxes: list[list[float]], classes: list[int]) -> dict[str, Any]:
    truth = Instances((96, 96), gt_boxes=Boxes(torch.tensor(boxes)), gt_classes=torch.tensor(classes).long())
    pixels = torch.randint(256, (3, 96, 96), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return {"image": pixels, "height": 96, "width": 96, "instances": truth}


BOXES, CLASSES = [[60.0, 9, 90, 70], [5, 30, 30, 60], [30, 5, 60, 50], [1, 1, 20, 20]], [0, 1, 2, 3]


def probabilities(
    model: RelDN, boxes: list[list[float]], classes: list[int], pair: tuple[int, int]
) -> torch.Tensor:
    """Probabilities of the predicates of a pair, in prdcls."""
    model.task = "prdcls"
    asked = {**image(boxes, classes), "queries": Queries.from_rows(pairs=[pair])}
    found: torch.Tensor = model([asked])[0]["pair_answers"].predicate_probs[0]
    return found


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector")
    options = [x for key, value in SMALL.items() if "MOTIFS" not in key for x in (key, value)]
    reldn("train", "--config-file", "scenes/detector.yaml", "--output", folder, "--seed", 1, *options)
    return folder


@pytest.fixture(scope="module")
def trained(detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motifs")
    start = ["--weights", detector, "--output", folder, "--seed", 1]
    reldn("train", *IMPORT, *CONFIG, *start, *words(MODEL__ROI_RELATION_HEAD__TEST__TASK="prdcls"))
    return folder


@pytest.mark.parametrize("task", ["prdcls", "sgcls", "sgdet"])
def test_it_is_evaluated_with_all_protocols(task: str, trained: Path) -> None:
    protocols = ["motifs", "reldn", "reldn_openimages", "openimages", "confusion"]
    protocols += ["vrd2016"] if task == "sgdet" else []
    reldn("evaluate", *IMPORT, "--weights", trained, "--task", task, "--protocol", *protocols)
    numbers = (trained / "inference" / TEST / task / "relation_results.csv").read_text()
    assert all(f"{name}," in numbers for name in ("motifs", "confusion"))


def test_it_predicts(trained: Path, tmp_path: Path) -> None:
    photo = DatasetCatalog.get(TEST)[0]["file_name"]
    reldn("predict", *IMPORT, "--weights", trained, "--input", photo, "--output", tmp_path)
    assert list(tmp_path.rglob("*.json"))


def test_a_training_is_resumed(detector: Path, tmp_path: Path) -> None:
    def run(*options: str, **keys: str) -> dict[str, Any]:
        start = ["--weights", detector, "--output", tmp_path, "--seed", 1, *options]
        reldn("train", *IMPORT, *CONFIG, *start, *words(DATASETS__TEST="()", **keys))
        checkpoint: dict[str, Any] = torch.load(tmp_path / "model_final.pth", weights_only=True)
        return checkpoint

    first = run(SOLVER__MAX_ITER="2")
    second = run("--resume", SOLVER__MAX_ITER="4")
    assert (first["iteration"], second["iteration"]) == (1, 3)
    assert "after 2 iterations" in (tmp_path / "log.txt").read_text()
    assert first["model"].keys() == second["model"].keys()
    name = "relation_head.predicate_scores.weight"
    assert not torch.equal(first["model"][name], second["model"][name])


@pytest.mark.slow
def test_two_processes_train_it_with_contrastive_losses(detector: Path, tmp_path: Path) -> None:
    start = ["--weights", detector, "--output", tmp_path, "--seed", 1, "--num-gpus", 2]
    options = [x for pair in CONTRASTIVE.items() for x in pair]
    reldn("train", *IMPORT, *CONFIG, *start, *words(DATASETS__TEST="()"), *options)
    losses = (tmp_path / "metrics.json").read_text()
    assert "loss_rel_class_agnostic" in losses and "loss_rel_labels" in losses
    assert (tmp_path / "model_final.pth").is_file()


def test_rows_of_predicates_and_classes_are_copied_by_name(trained: Path) -> None:
    model = make()
    found = vocabulary_of(TRAIN)
    own = replace(found, predicate_classes=["unseen", *reversed(found.predicate_classes[1:])])
    model.relation_head.frequency.log_prior.data.fill_(7)  # type: ignore[union-attr]
    RelationCheckpointer(model, vocabulary=own).load(str(trained / "model_final.pth"))
    old = torch.load(trained / "model_final.pth", weights_only=True)["model"][
        "relation_head.predicate_scores.bias"
    ]
    head: Any = model.relation_head
    assert torch.equal(head.predicate_scores.bias[1:], torch.cat([old[1:-1].flip(0), old[-1:]]))
    assert (head.frequency.log_prior == 7).all(), "it belongs to the other training set"


def test_labels_start_as_the_detectors_and_only_sgcls_changes_them() -> None:
    model = make()
    model.load_state_dict({k: v for k, v in model.state_dict().items() if "relation" not in k}, strict=False)
    head, inputs = model.relation_head, image(BOXES, CLASSES)
    model.task = "sgcls"
    before = model([inputs])[0]["instances"]
    assert torch.equal(before.pred_boxes.tensor, torch.tensor(BOXES))
    head.refine_entities = lambda features, entities, task: entities  # type: ignore[assignment,misc,method-assign]
    detectors = model([inputs])[0]["instances"]
    torch.testing.assert_close(before.scores, detectors.scores)
    assert torch.equal(before.pred_classes, detectors.pred_classes)
    del head.refine_entities
    head.label_change.weight.data.normal_()  # type: ignore[union-attr]
    assert not torch.equal(model([inputs])[0]["instances"].scores, detectors.scores)


def test_scores_depend_on_the_other_entities_and_not_on_their_order() -> None:
    model = make()
    whole = probabilities(model, BOXES, CLASSES, (0, 1))
    assert (probabilities(model, BOXES[:3], CLASSES[:3], (0, 1)) - whole).abs().max() > 1e-5
    moved = [*BOXES[:3], [70.0, 70, 95, 95]]
    assert (probabilities(model, moved, CLASSES, (0, 1)) - whole).abs().max() > 1e-5
    turned = probabilities(model, BOXES[::-1], CLASSES[::-1], (3, 2))
    torch.testing.assert_close(turned, whole, rtol=1e-4, atol=1e-6)


def test_a_batch_gives_what_its_images_give() -> None:
    model = make(MODEL__ROI_RELATION_HEAD__TEST__TASK="sgcls")
    inputs = [image(BOXES, CLASSES), image(BOXES[:1], CLASSES[:1]), image(BOXES[1:], CLASSES[1:])]
    for one, together in zip(inputs, model(inputs), strict=True):
        alone = model([one])[0]
        torch.testing.assert_close(
            alone["instances"].scores, together["instances"].scores, rtol=1e-4, atol=1e-6
        )
        torch.testing.assert_close(
            alone["relations"].scores, together["relations"].scores, rtol=1e-4, atol=1e-6
        )


def test_early_stopping_is_exact() -> None:
    model = make(MODEL__ROI_RELATION_HEAD__TEST__TOP_K="4", MODEL__ROI_RELATION_HEAD__TEST__CHUNK_SIZE="2")
    inputs = image(BOXES, CLASSES)
    truth = inputs["instances"]
    found = Instances((96, 96), pred_boxes=truth.gt_boxes, pred_classes=truth.gt_classes)
    found.scores = torch.tensor([0.9, 0.8, 0.3, 0.01])
    scored: list[int] = []
    head: Any = model.relation_head
    right = head.predicate_logits
    head.predicate_logits = lambda maps, entities, encoded, pairs: (
        scored.append(len(pairs)) or right(maps, entities, encoded, pairs)
    )
    early = model.inference([inputs], [found])[0]["relations"]
    few = sum(scored)
    head.stops_early = False
    every = model.inference([inputs], [found])[0]["relations"]
    assert torch.equal(early.pred_predicates, every.pred_predicates) and torch.equal(
        early.scores, every.scores
    )
    assert few < sum(scored) - few


def test_learning_rates_are_those_that_it_asks_for() -> None:
    model = make()
    groups = relation_optimizer_params(model, base_lr=1.0, weight_decay=0.1, predicate_backbone_lr_factor=0.5)
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    head: Any = model.relation_head
    assert rates[id(head.box_head.fc1.weight)] == rates[id(head.classifier.weight)] == (0.5, 0.1)
    assert rates[id(head.union_head.fc1.weight)] == (1.0, 0.1)
    assert rates[id(head.frequency.log_prior)] == (1.0, 0.0)


def test_without_entities_nothing_is_found() -> None:
    for task in ("prdcls", "sgcls"):
        output = make(MODEL__ROI_RELATION_HEAD__TEST__TASK=task)([image([], []) | {"image_id": 0}])[0]
        assert len(output["instances"]) == len(output["relations"]) == 0
