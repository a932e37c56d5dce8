"""Both stages through train_net.py's own functions, on a handful of scenes."""

import json
from argparse import Namespace
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import DefaultTrainer, default_argument_parser
from detectron2.modeling import build_model

from reldn_d2.checkpoint import RelationCheckpointer, Vocabulary
from reldn_d2.data import register_coco_relations, save_coco_relations
from reldn_d2.engine import (
    RelationPredictor,
    Trainer,
    cache_detections,
    evaluate,
    load_model,
    setup,
    vocabulary_of,
)
from reldn_d2.modeling import accelerate
from tests.builders.tiny_models import REPOSITORY, TINY, TinyConfig, make_model


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that stage 1 trained for two steps."""
    folder = tmp_path_factory.mktemp("detector")
    config = str(REPOSITORY / "configs" / "scenes" / "detector.yaml")
    options = [*TINY, "OUTPUT_DIR", str(folder), "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
    args = default_argument_parser().parse_args(["--config-file", config, *options])
    trainer = Trainer(setup(args))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert "bbox" in trainer._last_eval_results
    return folder / "model_final.pth"


def test_stage_two_trains_resumes_and_evaluates(detector: Path, tiny_config: TinyConfig) -> None:
    cfg = tiny_config("MODEL.WEIGHTS", str(detector), "SOLVER.CHECKPOINT_PERIOD", "1")
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    output = Path(cfg.OUTPUT_DIR)
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert any("loss_rel_predicate_class" in line for line in lines)
    assert any("sgdet/motifs/R@50" in line for line in lines)

    cfg.SOLVER.MAX_ITER = 3
    resumed = Trainer(cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 2
    resumed.train()

    for task in ("prdcls", "sgcls", "sgdet"):
        cfg.MODEL.ROI_RELATION_HEAD.TEST.TASK = task
        results = evaluate(cfg, resume=True)
        assert 0 <= results[f"{task}/motifs"]["R@50"] <= 100
    assert list(results) == [f"sgdet/{x}" for x in ("motifs", "reldn", "reldn_openimages", "confusion")]


def test_detector_weights_start_the_relation_stage(
    detector: Path, tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """The model does this itself, so Detectron2's DefaultTrainer does too. The copies are reported."""
    cfg = tiny_config("MODEL.WEIGHTS", str(detector))
    with caplog.at_level("INFO", logger="reldn_d2"):
        trainer = DefaultTrainerWithMapper(cfg)
        trainer.resume_or_load(resume=False)
    state = trainer.model.state_dict()
    pairs = {
        "relation_backbone.": "backbone.",
        "relation_head.pair_classifier.subject_head.": "roi_heads.box_head.",
        "relation_head.pair_classifier.object_head.": "roi_heads.box_head.",
        "relation_head.pair_classifier.predicate_head.": "roi_heads.box_head.",
    }
    for target, source in pairs.items():
        names = [name for name in state if name.startswith(target)]
        assert names
        for name in names:
            assert torch.equal(state[name], state[source + name.removeprefix(target)]), name
        assert any(target in message and source in message for message in caplog.messages)
    semantic = trainer.model.relation_head.pair_classifier.semantic
    semantic.set_counts(np.ones(tuple(semantic.log_prior.shape), dtype=np.int64))
    trainer.train()


class DefaultTrainerWithMapper(DefaultTrainer):
    """Detectron2's trainer; only the mapper is ours."""

    build_train_loader = Trainer.build_train_loader

    @classmethod
    def test(cls, *_: object) -> dict[str, object]:
        return {}


def test_relation_weights_are_not_overwritten_by_the_detector(
    tiny_config: TinyConfig, tmp_path: Path
) -> None:
    trained = make_model(tiny_config(), seed=1)
    RelationCheckpointer(trained, str(tmp_path)).save("model")
    loaded = make_model(tiny_config(), seed=2)
    RelationCheckpointer(loaded).load(str(tmp_path / "model.pth"))
    for name, value in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_cached_detections_give_the_same_result(
    detector: Path, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    options = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "MODEL.WEIGHTS", str(detector)]
    stage1 = tiny_config(*options, file="detector.yaml")
    files = {}
    for name in ("reldn_scenes_tiny_train", "reldn_scenes_tiny_test"):
        files[name] = tmp_path / f"{name}.npz"
        cache_detections(stage1, load_model(stage1), name, files[name])
    with torch.no_grad():
        detected = load_model(stage1)(next(iter(Trainer.build_test_loader(stage1, "reldn_scenes_tiny_test"))))
    with np.load(files["reldn_scenes_tiny_test"]) as cached:
        boxes = np.concatenate([x["instances"].pred_boxes.tensor.numpy() for x in detected])
        assert len(boxes) > len(detected)
        np.testing.assert_allclose(cached["boxes"], boxes, rtol=1e-5)
        assert cached["offsets"].tolist() == np.cumsum([0, *(len(x["instances"]) for x in detected)]).tolist()

    stage2 = tiny_config(*options)
    model = accelerate(make_model(stage2))  # as the cached detections were made: the same digits
    RelationCheckpointer(model).load(str(detector))
    model.eval()
    online = Trainer.test(stage2, model)
    stage2.DATASETS.DETECTION_FILES_TEST = (str(files["reldn_scenes_tiny_test"]),)
    stage2.DATASETS.DETECTION_FILES_TRAIN = (str(files["reldn_scenes_tiny_train"]),)
    model.proposal_generator = None  # the detector is not run
    cached = Trainer.test(stage2, model)
    for protocol, metrics in online.items():
        for name, value in metrics.items():
            assert cached[protocol][name] == pytest.approx(value, abs=1e-3), name
    batch = next(iter(Trainer.build_train_loader(stage2)))
    assert all(len(inputs["detections"]) > 0 for inputs in batch)


def test_predictor_with_a_checkpoint_without_names(tiny_config: TinyConfig, tmp_path: Path) -> None:
    cfg = tiny_config("MODEL.WEIGHTS", str(tmp_path / "model.pth"))
    RelationCheckpointer(make_model(cfg), str(tmp_path)).save("model")
    assert (
        RelationPredictor(cfg).predicate_classes == vocabulary_of("reldn_scenes_tiny_test").predicate_classes
    )
    cfg.DATASETS.TEST = ()
    assert RelationPredictor(cfg).thing_classes == vocabulary_of("reldn_scenes_tiny_train").thing_classes
    cfg.DATASETS.TRAIN = ()
    message = r"neither the checkpoint .*model\.pth nor the config names .* DATASETS\.TEST, .*checkpoints\.md"
    with pytest.raises(ValueError, match=message):
        RelationPredictor(cfg)


def test_predictor_needs_nothing_but_the_checkpoint(tiny_config: TinyConfig, tmp_path: Path) -> None:
    cfg = tiny_config(
        "MODEL.WEIGHTS", str(tmp_path / "model.pth"), "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"
    )
    model = make_model(cfg)
    words = Vocabulary([f"thing {i}" for i in range(6)], [f"predicate {i}" for i in range(7)])
    RelationCheckpointer(model, str(tmp_path), vocabulary=words).save("model")
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    predictor = RelationPredictor(cfg)
    assert predictor.thing_classes == words.thing_classes
    assert predictor.predicate_classes == words.predicate_classes
    image = np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8)
    output = predictor(image)
    assert output["instances"].image_size == (120, 200)
    assert len(output["instances"]) > 1 and len(output["relations"]) > 0


def test_learning_rate_groups(tiny_config: TinyConfig) -> None:
    options = [
        "SOLVER.PREDICATE_BACKBONE_LR_FACTOR",
        "0.1",
        "MODEL.ROI_RELATION_HEAD.SEMANTIC.LEARNABLE",
        "True",
    ]
    cfg = tiny_config(*options, "SOLVER.BASE_LR", "1.0", "SOLVER.WEIGHT_DECAY", "0.5")
    model = make_model(cfg)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in Trainer.build_optimizer(cfg, model).param_groups
        for parameter in group["params"]
    }
    head = "relation_head.pair_classifier."
    expected = {
        "relation_backbone.fpn_lateral2.weight": (0.1, 0.5),
        "relation_backbone.fpn_lateral2.bias": (0.2, 0.0),
        head + "predicate_head.fc1.weight": (0.1, 0.5),
        head + "subject_head.fc1.weight": (1.0, 0.5),
        head + "subject_head.fc1.bias": (2.0, 0.0),
        head + "semantic.log_prior": (2.0, 0.0),
    }
    for name, values in expected.items():
        assert groups[name] == pytest.approx(values), name


def with_dataset(cfg: CfgNode, name: str, **metadata: list[str]) -> CfgNode:
    if name not in DatasetCatalog:
        DatasetCatalog.register(name, lambda: DatasetCatalog.get("reldn_scenes_tiny_train"))
        MetadataCatalog.get(name).set(evaluator_type="relation", **metadata)
    cfg.DATASETS.TRAIN = (name,)
    return cfg


def test_class_counts_must_fit_the_data_set(tiny_config: TinyConfig) -> None:
    things, predicates = [str(i) for i in range(5)], [str(i) for i in range(7)]
    cfg = with_dataset(tiny_config(), "five_things", thing_classes=things, predicate_classes=predicates)
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 6, but data set five_things has 5"):
        Trainer(cfg)
    things = MetadataCatalog.get("reldn_scenes_tiny_train").thing_classes
    cfg = with_dataset(
        tiny_config(), "permuted", thing_classes=[*things[1:], things[0]], predicate_classes=predicates
    )
    with pytest.raises(
        ValueError, match=r"data set reldn_scenes_tiny_test has 6 thing_classes.*differ from number 0"
    ):
        Trainer(cfg)
    cfg = tiny_config("MODEL.ROI_RELATION_HEAD.NUM_PREDICATES", "9")
    with pytest.raises(ValueError, match=r"NUM_PREDICATES is 9, but data set reldn_scenes_tiny_train has 7"):
        Trainer(cfg)


def test_an_own_data_set_trains_and_evaluates(
    detector: Path, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    """COCO-relations, registered in one line; its class names are known once it is loaded."""
    scenes = DatasetCatalog.get("reldn_scenes_tiny_test")
    save_coco_relations(scenes, MetadataCatalog.get("reldn_scenes_tiny_test"), tmp_path / "own.json", "/")
    register_coco_relations("own_scenes", {}, str(tmp_path / "own.json"), "/")
    try:
        cfg = tiny_config("MODEL.WEIGHTS", str(detector))
        cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("own_scenes",)
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.train()
        assert "sgdet/motifs" in trainer._last_eval_results
    finally:
        DatasetCatalog.remove("own_scenes")
        MetadataCatalog.remove("own_scenes")


def test_a_detector_trains_on_an_own_data_set(tiny_config: TinyConfig, tmp_path: Path) -> None:
    """Box AP needs neither "area" nor "iscrowd", which the format does not require."""
    scenes = DatasetCatalog.get("reldn_scenes_tiny_test")
    save_coco_relations(scenes, MetadataCatalog.get("reldn_scenes_tiny_test"), tmp_path / "own.json", "/")
    content = json.loads((tmp_path / "own.json").read_text())
    for annotation in content["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    (tmp_path / "own.json").write_text(json.dumps(content))
    register_coco_relations("own_boxes", {}, str(tmp_path / "own.json"), "/")
    try:
        cfg = tiny_config("SOLVER.MAX_ITER", "1", file="detector.yaml")
        cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("own_boxes",)
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.train()
        assert "AP50" in trainer._last_eval_results["bbox"]
    finally:
        DatasetCatalog.remove("own_boxes")
        MetadataCatalog.remove("own_boxes")


def test_a_checkpoint_of_other_classes_is_refused(tiny_config: TinyConfig, tmp_path: Path) -> None:
    model = make_model(tiny_config())
    words = Vocabulary(["a", "b"], ["on"])
    RelationCheckpointer(model, str(tmp_path), vocabulary=words).save("model")
    with pytest.raises(ValueError, match=r"differ from number 1 on \(\['b'\] and \['c'\]\)"):
        own = Vocabulary(["a", "c"], ["on"])
        RelationCheckpointer(model, vocabulary=own, complete=True).load(str(tmp_path / "model.pth"))
    other = make_model(tiny_config("MODEL.ROI_RELATION_HEAD.NUM_PREDICATES", "5"))
    with pytest.raises(
        ValueError, match=r"do not fit the model; the first is relation_head.*in the checkpoint"
    ):
        RelationCheckpointer(other).load(str(tmp_path / "model.pth"))


def test_a_checkpoint_without_a_detector_is_refused(tiny_config: TinyConfig, tmp_path: Path) -> None:
    model = make_model(tiny_config())
    state = {name: x for name, x in model.state_dict().items() if not name.startswith("roi_heads.")}
    torch.save({"model": state}, tmp_path / "broken.pth")
    with pytest.raises(ValueError, match=r"lacks \d+ parameters of the model, the first is roi_heads"):
        RelationCheckpointer(model).load(str(tmp_path / "broken.pth"))
    torch.save({"model": state, "matching_heuristics": True}, tmp_path / "imagenet.pth")
    with pytest.raises(ValueError, match="not a trained Detectron2 detector"):
        RelationCheckpointer(model).load(str(tmp_path / "imagenet.pth"))


def test_an_incomplete_checkpoint_is_not_evaluated(
    detector: Path, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    """Missing parts would be random, and so would a part that is switched on after training."""
    state = torch.load(detector, weights_only=True)["model"]
    backbone = {name: x for name, x in state.items() if name.startswith("backbone.")}
    torch.save({"model": backbone}, tmp_path / "backbone.pth")
    stage1 = tiny_config("MODEL.WEIGHTS", str(tmp_path / "backbone.pth"), file="detector.yaml")
    with pytest.raises(
        ValueError, match=r"lacks \d+ parameters of the model, the first is proposal_generator"
    ):
        load_model(stage1)
    with pytest.raises(ValueError, match="do not fit the model"):
        load_model(
            tiny_config(
                "MODEL.WEIGHTS", str(detector), "MODEL.ROI_BOX_HEAD.FC_DIM", "16", file="detector.yaml"
            )
        )

    without_spatial = ["MODEL.ROI_RELATION_HEAD.SPATIAL.ENABLED", "False"]
    RelationCheckpointer(make_model(tiny_config(*without_spatial)), str(tmp_path)).save("model")
    weights = ["MODEL.WEIGHTS", str(tmp_path / "model.pth")]
    load_model(tiny_config(*weights, *without_spatial))
    with pytest.raises(ValueError, match=r"lacks 6 parameters of the model, .*spatial"):
        load_model(tiny_config(*weights))
    switched_off = ["MODEL.ROI_RELATION_HEAD.VISUAL.OBJECT_SKIP", "False"]
    with pytest.raises(ValueError, match=r"has 2 parameters that the model lacks, .*object_skip"):
        load_model(tiny_config(*weights, *without_spatial, *switched_off))

    without_semantic = ["MODEL.ROI_RELATION_HEAD.SEMANTIC.ENABLED", "False"]
    with pytest.raises(ValueError, match="lacks"):
        load_model(tiny_config("MODEL.WEIGHTS", str(detector), *without_semantic))
    with pytest.raises(ValueError, match="lacks"):
        RelationPredictor(tiny_config("MODEL.WEIGHTS", str(detector), *without_semantic))
    with pytest.raises(ValueError, match="give config and weights of stage 2"):
        RelationPredictor(tiny_config("MODEL.WEIGHTS", str(detector), file="detector.yaml"))
    with pytest.raises(ValueError, match="nothing to predict with"):
        RelationPredictor(tiny_config())


def test_an_interrupted_save_leaves_the_last_checkpoint(
    tiny_config: TinyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpointer = RelationCheckpointer(make_model(tiny_config()), str(tmp_path))
    checkpointer.save("model")
    before = (tmp_path / "model.pth").read_bytes()

    def fail(_: object, file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpointer.save("model")
    assert (tmp_path / "model.pth").read_bytes() == before
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model.pth")


def test_refusals_before_training(tiny_config: TinyConfig) -> None:
    with pytest.raises(ValueError, match=r"frozen detector: give its checkpoint as MODEL\.WEIGHTS"):
        Trainer(tiny_config()).resume_or_load(resume=False)
    with pytest.raises(ValueError, match="nothing to train"):
        Trainer(tiny_config(file="frequency.yaml"))
    with pytest.raises(ValueError, match=r"AMP\.ENABLED needs CUDA"):
        Trainer(tiny_config("SOLVER.AMP.ENABLED", "True"))
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(tiny_config())
    two = ("reldn_scenes_tiny_train", "reldn_scenes_tiny_test")
    with pytest.raises(ValueError, match="1 detection files for 2 data sets"):
        cfg = tiny_config("DATASETS.DETECTION_FILES_TRAIN", "('x.npz',)")
        cfg.DATASETS.TRAIN = two
        Trainer(cfg)
    with pytest.raises(ValueError, match="1 detection files for 2 data sets"):
        cfg = tiny_config("DATASETS.DETECTION_FILES_TEST", "('x.npz',)")
        cfg.DATASETS.TEST = two
        Trainer.build_test_loader(cfg, two[1])
    with pytest.raises(ValueError, match="choose one of them"):
        options = ["MODEL.ROI_RELATION_HEAD.SAMPLING.METHOD", "published"]
        Trainer(tiny_config(*options, "DATASETS.DETECTION_FILES_TRAIN", "('x.npz',)"))
    for key, value in (("PARTNERS_PER_ANCHOR", "32"), ("ENTITY_IOU_THRESHOLD", "0.6")):
        key = f"MODEL.ROI_RELATION_HEAD.SAMPLING.{key}"
        with pytest.raises(ValueError, match=rf"{key} would change nothing.*METHOD 'published' draws"):
            Trainer(tiny_config("MODEL.ROI_RELATION_HEAD.SAMPLING.METHOD", "published", key, value))
    with pytest.raises(ValueError, match="TOP_K is 20, but a protocol ranks 100"):
        Trainer.build_evaluator(tiny_config("MODEL.ROI_RELATION_HEAD.TEST.TOP_K", "20"), two[1])
    with pytest.raises(ValueError, match="config of stage 1"):
        cache_detections(tiny_config(), make_model(tiny_config()), two[1], Path("never.npz"))
    with pytest.raises(ValueError, match="names of the classes"):
        load_model(tiny_config("DATASETS.TEST", "()", "DATASETS.TRAIN", "()"))


def test_frequency_baseline_is_evaluated_without_training(tiny_config: TinyConfig) -> None:
    cfg = tiny_config("MODEL.ROI_RELATION_HEAD.TEST.TASK", "prdcls", file="frequency.yaml")
    results = evaluate(cfg)
    assert list(results) == ["prdcls/motifs", "prdcls/reldn", "prdcls/confusion"]
    assert results["prdcls/motifs"]["R@100"] > 50
    cfg.MODEL.ROI_RELATION_HEAD.TEST.TASK = "sgdet"
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(cfg)


def test_frequency_baseline_counts_its_own_table(tiny_config: TinyConfig, tmp_path: Path) -> None:
    """It can also use the detector of a trained RelDN."""
    RelationCheckpointer(make_model(tiny_config()), str(tmp_path)).save("model")
    options = ["MODEL.WEIGHTS", str(tmp_path / "model.pth")]
    counted = load_model(tiny_config("MODEL.ROI_RELATION_HEAD.TEST.TASK", "prdcls", file="frequency.yaml"))
    loaded = load_model(tiny_config(*options, file="frequency.yaml"))
    tables = [model.relation_head.pair_classifier.semantic.log_prior for model in (counted, loaded)]
    assert torch.equal(*tables)
    other = tiny_config(*options, file="frequency.yaml")
    other.DATASETS.STATISTICS = ("reldn_scenes_tiny_test",)
    assert not torch.equal(tables[0], load_model(other).relation_head.pair_classifier.semantic.log_prior)


def test_expected_results_are_checked(tiny_config: TinyConfig) -> None:
    cfg = tiny_config("MODEL.ROI_RELATION_HEAD.TEST.TASK", "prdcls", file="frequency.yaml")
    cfg.TEST.EXPECTED_RESULTS = [["prdcls/motifs", "R@100", 0.0, 0.1]]
    with pytest.raises(SystemExit):
        evaluate(cfg)


def test_a_misspelt_key_is_refused() -> None:
    args = Namespace(
        config_file=str(REPOSITORY / "configs/scenes/reldn.yaml"), opts=["MODEL.ROI_RELATION_HED.X", "1"]
    )
    with pytest.raises(ValueError, match=r"MODEL.ROI_RELATION_HED.X, which does not exist"):
        setup(args)


def test_meta_architecture_is_registered(tiny_config: TinyConfig) -> None:
    assert type(build_model(tiny_config())).__name__ == "RelDN"
