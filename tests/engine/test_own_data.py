"""What a config says about data comes from the data file; names and counts that do not fit are errors."""

from pathlib import Path
from typing import Any

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.data import RegisteredData, register_data_file
from reldn_d2.engine import (
    RelationPredictor,
    Trainer,
    evaluate,
    load_config,
    load_config_for_data,
    load_model,
    parts_of,
)
from reldn_d2.engine.run import build_training
from tests.builders.own_data import small_party, write_data_file
from tests.builders.tiny_models import REPOSITORY, TinyConfig, make_model

CONFIGS = REPOSITORY / "configs"
SCENES = str(CONFIGS / "scenes" / "reldn.yaml")
LAZY = str(CONFIGS / "lazy" / "scenes_reldn.py")
HEAD = "MODEL.ROI_RELATION_HEAD"


@pytest.fixture
def party(tmp_path: Path) -> RegisteredData:
    return register_data_file(small_party(tmp_path, things=4, predicates=3))


@pytest.mark.parametrize("file", [SCENES, LAZY, str(CONFIGS / "openimages/mini_reldn_x101_fpn.yaml")])
def test_names_and_counts_come_from_the_data(file: str, party: RegisteredData) -> None:
    parts = parts_of(load_config_for_data(file, None, party))
    assert parts.train_datasets == ("party_train",) and parts.test_datasets == ("party_test",)
    assert set(parts.all_datasets()) == {"party_train", "party_test"}
    assert [number for _, number in parts.class_counts().values()] == [4, 3]
    settings = parts.settings()
    assert settings[parts.keys.protocols] == '["motifs", "reldn", "confusion"]'


@pytest.mark.parametrize(
    ("file", "options", "key"),
    [
        ("scenes/detector.yaml", [], "MODEL.ROI_HEADS.NUM_CLASSES"),
        ("scenes/detector.yaml", ["MODEL.META_ARCHITECTURE", "RetinaNet"], "MODEL.RETINANET.NUM_CLASSES"),
        ("base/cascade_rcnn_r50_fpn.yaml", [], "MODEL.ROI_HEADS.NUM_CLASSES"),
        ("lazy/vrd_detector_vitdet_b.py", [], "model.roi_heads.num_classes"),
    ],
)
def test_a_detector_has_the_entity_classes_of_the_data(
    file: str, options: list[str], key: str, party: RegisteredData
) -> None:
    parts = parts_of(load_config_for_data(str(CONFIGS / file), options, party))
    assert dict(parts.class_counts()) == {"thing_classes": (key, 4)}


def test_every_part_of_a_python_config_has_the_counts_of_the_data(party: RegisteredData) -> None:
    cfg = load_config_for_data(LAZY, None, party)
    head = cfg.model.relation_head
    assert head.pair_classifier.semantic.num_classes == 4
    assert head.contrastive_losses.terms.entity_class.num_predicates == 3
    assert list(cfg.datasets.statistics) == ["party_train"]
    assert cfg.dataloader.test.dataset.names == ["party_test"]


@pytest.mark.parametrize(
    ("file", "options"),
    [
        (
            SCENES,
            ["DATASETS.TEST", "('reldn_scenes_tiny_test',)", f"{HEAD}.TEST.PROTOCOLS", "('confusion',)"],
        ),
        (LAZY, ["datasets.test=reldn_scenes_tiny_test", "dataloader.evaluator.protocols.names=[confusion]"]),
    ],
)
def test_overrides_of_names_win(file: str, options: list[str], party: RegisteredData) -> None:
    parts = parts_of(load_config_for_data(file, options, party))
    assert parts.test_datasets == ("reldn_scenes_tiny_test",) and parts.train_datasets == ("party_train",)
    assert parts.settings()[parts.keys.protocols] == '["confusion"]'


@pytest.mark.parametrize(
    ("file", "option", "message"),
    [
        (SCENES, ["MODEL.ROI_HEADS.NUM_CLASSES", "6"], r"NUM_CLASSES to 6, but \S+ has 4 thing classes"),
        (SCENES, [f"{HEAD}.NUM_PREDICATES", "7"], r"NUM_PREDICATES to 7, but \S+ has 3 predicate classes"),
        (LAZY, ["model.roi_heads.num_classes=6"], r"num_classes to 6, but \S+ has 4 thing classes"),
        (LAZY, ["model.relation_head.num_predicates=7"], r"num_predicates to 7, .* has 3 predicate classes"),
    ],
)  # fmt: skip
def test_an_override_that_contradicts_the_data_says_both(
    file: str, option: list[str], message: str, party: RegisteredData
) -> None:
    with pytest.raises(ValueError, match=message):
        load_config_for_data(file, option, party)


def test_an_override_that_agrees_is_accepted(party: RegisteredData) -> None:
    cfg = load_config_for_data(SCENES, ["MODEL.ROI_HEADS.NUM_CLASSES", "4"], party)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 4


def test_a_config_that_was_saved_for_the_data_keeps_its_settings(
    party: RegisteredData, tmp_path: Path
) -> None:
    cfg = load_config_for_data(SCENES, [f"{HEAD}.TEST.PROTOCOLS", "('confusion',)"], party)
    cfg.DATASETS.DETECTION_FILES_TRAIN = ("found.npz",)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again = load_config_for_data(str(tmp_path / "config.yaml"), None, party)
    assert parts_of(again).settings() == parts_of(cfg).settings()


def test_a_config_for_other_data_loses_their_detections_and_results(
    party: RegisteredData, tmp_path: Path
) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(
        f"_BASE_: {SCENES}\nDATASETS: {{DETECTION_FILES_TRAIN: [x.npz], STATISTICS: [reldn_scenes_train]}}\n"
        "TEST: {EXPECTED_RESULTS: [[prdcls/motifs, R@20, 90.0, 1.0]]}\n"
        "MODEL: {ROI_RELATION_HEAD: {TEST: {EXCLUDED_PREDICATES: ['on']}}}\n"
    )
    cfg = load_config_for_data(str(file), None, party)
    assert cfg.DATASETS.DETECTION_FILES_TRAIN == cfg.DATASETS.STATISTICS == ()
    assert cfg.TEST.EXPECTED_RESULTS == [] and cfg.MODEL.ROI_RELATION_HEAD.TEST.EXCLUDED_PREDICATES == ()


def test_data_without_a_test_split(tmp_path: Path) -> None:
    small_party(tmp_path)
    only_train = {"annotations": "train.json", "images": "images"}
    data = register_data_file(write_data_file(tmp_path, "photos", train=only_train))
    assert parts_of(load_config_for_data(SCENES, None, data)).test_datasets == ()
    with pytest.raises(ValueError, match="a config in Python names one data set to evaluate on"):
        load_config_for_data(LAZY, None, data)


def test_data_without_a_training_split_can_not_be_trained_on(tmp_path: Path) -> None:
    small_party(tmp_path)
    only_test = {"annotations": "test.json", "images": "images"}
    data = register_data_file(write_data_file(tmp_path, "photos", test=only_test))
    cfg = load_config_for_data(SCENES, ["OUTPUT_DIR", str(tmp_path)], data)
    with pytest.raises(ValueError, match=r"nothing to train on: name a data set as DATASETS\.TRAIN"):
        Trainer(cfg)


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building a model is an error: checks come before it."""

    def build(cls: type, cfg: Any) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr(Trainer, "build_model", classmethod(build))


def test_counts_are_compared_before_a_model_is_built(no_model: None, tiny_config: TinyConfig) -> None:
    cfg = tiny_config("MODEL.ROI_HEADS.NUM_CLASSES", "5")
    message = r"MODEL\.ROI_HEADS\.NUM_CLASSES is 5, but data set reldn_scenes_tiny_t\w+ has 6: set .* to 6"
    for start in (Trainer, load_model, evaluate):
        with pytest.raises(ValueError, match=message):
            start(cfg)


def test_names_that_are_not_registered_are_named_with_near_ones(
    no_model: None, tiny_config: TinyConfig
) -> None:
    message = r"'reldn_scenes_tiny_trian' is not registered: did you mean reldn_scenes_tiny_train .*--import"
    for key, start in (("TRAIN", Trainer), ("TEST", load_model), ("TEST", evaluate)):
        with pytest.raises(ValueError, match=message):
            start(tiny_config(f"DATASETS.{key}", "('reldn_scenes_tiny_trian',)"))
    assert "reldn_scenes_tiny_trian" not in DatasetCatalog


def test_a_name_with_metadata_alone_can_not_be_loaded(tiny_config: TinyConfig) -> None:
    known = MetadataCatalog.get("reldn_scenes_tiny_train")
    names = {"thing_classes": known.thing_classes, "predicate_classes": known.predicate_classes}
    MetadataCatalog.get("only_metadata").set(**names)
    with pytest.raises(ValueError, match="data set 'only_metadata' is not registered: correct the name"):
        build_training(parts_of(tiny_config("DATASETS.TRAIN", "('only_metadata',)")))


def test_a_string_instead_of_a_list_of_names(tiny_config: TinyConfig, tmp_path: Path) -> None:
    name = "'reldn_scenes_train'"
    message = rf"DATASETS\.TRAIN takes a list, but is the string {name}\. Write \[{name}\]"
    for value in ("reldn_scenes_train", "('reldn_scenes_train')"):
        with pytest.raises(ValueError, match=f"^override DATASETS.TRAIN .*{message}"):
            tiny_config("DATASETS.TRAIN", value)
    file = tmp_path / "x.yaml"
    file.write_text('DATASETS:\n  TRAIN: ("reldn_scenes_train")\n')
    with pytest.raises(ValueError, match=rf"x\.yaml can't be read.*{message}"):
        load_config(str(file))
    cfg = tiny_config()
    cfg.DATASETS.TRAIN = "reldn_scenes_train"
    with pytest.raises(ValueError, match=f"^{message}"):
        Trainer(cfg)


def test_a_predictor_without_class_names_compares_the_counts(tiny_config: TinyConfig, tmp_path: Path) -> None:
    options = ("MODEL.ROI_HEADS.NUM_CLASSES", "5")
    RelationCheckpointer(make_model(tiny_config(*options)), str(tmp_path)).save("unnamed")
    weights = ("MODEL.WEIGHTS", str(tmp_path / "unnamed.pth"))
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 5, but data set reldn_scenes_tiny_test has 6"):
        RelationPredictor(tiny_config(*options, *weights))
