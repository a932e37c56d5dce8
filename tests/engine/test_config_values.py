"""Every setting has a range: what is outside is named before data are loaded, what is inside is accepted."""

import math
import re
from collections.abc import Callable
from copy import deepcopy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from omegaconf import DictConfig, OmegaConf

from reldn_d2.config import add_reldn_config, default_config
from reldn_d2.config_values import SETTINGS, Setting, check_arguments, check_keys, find_setting
from reldn_d2.engine import load_config, parts_of
from reldn_d2.engine.config_files import similar_keys
from reldn_d2.engine.lazy import LazyParts, load_lazy_config, override_lazy_config
from reldn_d2.engine.run import build_training
from reldn_d2.engine.yaml import YamlParts
from tests.builders.config_files import leaves
from tests.builders.tiny_models import REPOSITORY, TinyConfig

TINY_LAZY = str(REPOSITORY / "tests" / "builders" / "tiny_lazy.py")
HEAD = "MODEL.ROI_RELATION_HEAD"
HUGE = 10**30
# For each kind of value: what must be refused, and what must be accepted.
BAD_OF_ALL: tuple[Any, ...] = (object(), {"A": 1}, b"1", 1j)
FLAGS = (("yes", "True", 0, 1, 1.0, None, [True]), (True, False))
WORDS = ((1, True, None, ["a"], 0.5, math.nan), ())
NUMBERS = (math.nan, math.inf, -math.inf, "0.5", "nan", True, None, [0.5])
WHOLE = (*NUMBERS, 1.5, 2.0, HUGE)
COUNTS_FROM_0 = ((*WHOLE, -1), (0, 1, 2**31))
COUNTS_FROM_1 = ((*WHOLE, -1, 0), (1, 2**31))
CLASSES = ((*WHOLE, -1, 0, 1_000_001), (1, 1_000_000))
FACTORS = ((*NUMBERS, -1, -1e-9, 1_000_001, HUGE), (0, 0.0, 1, 0.5, 1e6))
SHARES = ((*NUMBERS, -0.01, 1.01, 2, HUGE), (0, 0.0, 0.5, 1, 1.0))
BELOW_1 = ((*NUMBERS, -0.01, 1, 1.0, 2.0, HUGE), (0, 0.0, 0.999))
ABOVE_0 = ((*NUMBERS, 0, 0.0, -0.1, 1.01, HUGE), (1e-12, 0.5, 1.0, 1))
NAMES = (("abc", 1, None, [1], ["a", None], [True], [""], [["a"]], {"a": 1}), ([], (), ["a"], ("a", "b")))
SIZES = ((None, "800", [], [-1], [1.5], ["1"], [True], [HUGE], -1, 1.5), ([0], (800,), [640, 800], 800))
OTHERS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    f"{HEAD}.SEMANTIC.BACKGROUND_COUNT": (("All", "", *WORDS[0]), ("unrelated", "all")),
    f"{HEAD}.LOSS.NORMALIZATION": (("anchor", "", *WORDS[0]), ("anchors", "published")),
    f"{HEAD}.SAMPLING.METHOD": (("Paper", "", *WORDS[0]), ("paper", "published")),
    f"{HEAD}.TEST.TASK": (("SGDet", "all", "", *WORDS[0]), ("sgdet", "sgcls", "prdcls")),
    f"{HEAD}.TEST.PREDICATES_PER_PAIR": (([], [0], [-1], [1.5], ["1"], 1, "1", None, [True]), ([1], (1, 70))),
    f"{HEAD}.WEIGHTS": ((*WORDS[0],), ("", "w.pth")),
    "DATASETS.CHECK": (("Error", "", *WORDS[0]), ("error", "warn")),
    "MODEL.RELDN_PRECISION": (("fp16", "BF16", *WORDS[0]), ("fp32", "bf16")),
    "MODEL.RELDN_VGG.CHANNELS": (
        ([1, 2, 3, 4], [1, 2, 3, 4, 0], [1, 2, 3, 4, 5, 6], "12345", 5, None, [1, 2, 3, 4, 5.0]),
        ([1, 1, 1, 1, 1], (64, 128, 256, 512, 512)),
    ),
    "MODEL.PIXEL_MEAN": (
        ([math.nan, 0.0, 0.0], [], "abc", 1.0, None, ["1"], [math.inf]),
        ([0.0], (1, -1, 0)),
    ),
    "MODEL.PIXEL_STD": (([1.0, 0.0, 1.0], [-1.0], [math.inf], [], 1.0, None), ([1.0], (57, 57.1, 58.0))),
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": (NUMBERS, (-1, 0.0, 0.05, 1.1)),
    "TEST.DETECTIONS_PER_IMAGE": ((*WHOLE, 0, -2), (-1, 1, 100)),
    "OUTPUT_DIR": (("", " ", *WORDS[0]), ("output", "/a b/c", Path("x"))),
    # Of the last, PIL makes pictures of other types or without channels, or makes none of most pictures.
    "INPUT.FORMAT": (
        ("XYZ", "bgr", "", *WORDS[0], "F", "I", "I;16", "1", "P", "La", "RGBa"),
        ("BGR", "RGB", "L", "YUV-BT.601", "CMYK", "LA"),
    ),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": (("Range", *WORDS[0]), ("choice", "range")),
    "INPUT.RELDN_RESIZE_TEST": (("Factor", *WORDS[0]), ("sides", "factor")),
    "INPUT.RANDOM_FLIP": (("Horizontal", *WORDS[0]), ("none", "horizontal", "vertical")),
    "INPUT.CROP.TYPE": (
        ("Relative", *WORDS[0]),
        ("relative", "relative_range", "absolute", "absolute_range"),
    ),
    "INPUT.CROP.SIZE": (
        ([0.9], [0.9, 0.0], [0.9, -1], [math.nan, 1], 0.9, "ab", None),
        ([0.9, 0.9], (1, 300)),
    ),
    "DATALOADER.NUM_WORKERS": ((*WHOLE, -1, 10_001), (0, 4, 10_000)),
    "SOLVER.IMS_PER_BATCH": ((*WHOLE, -1, 0, 65_537), (1, 65_536)),
    "SOLVER.STEPS": (([-1], [1.5], [2, 1], [1, 1], ["1"], [True], 3, "3", None, [HUGE]), ([], (1, 2), [0])),
    "SOLVER.WARMUP_METHOD": (("Linear", *WORDS[0]), ("linear", "constant")),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": (("Norm", *WORDS[0]), ("norm", "value")),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": ((*NUMBERS, 0, 0.0, -1.0), (1e-9, 1, 1e30)),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": ((math.nan, "2", None, True, 0, -1.0), (1, 2.0, math.inf)),
    "TEST.EXPECTED_RESULTS": (
        ([3], "abc", None, [["a", "b", 1.0]], [["a", "b", "c", 1.0]], [[1, "b", 1.0, 1.0]]),
        ([], [["bbox", "AP", 38.5, 0.2]], (("a/b", "R@20", 1, math.nan),)),
    ),
    "SEED": ((*WHOLE, 4_000_000_001), (-1, 0, 4_000_000_000)),
}
KINDS: list[tuple[tuple[tuple[Any, ...], tuple[Any, ...]], tuple[str, ...]]] = [
    (
        FLAGS,
        (
            *(
                f"{HEAD}.{x}"
                for x in ("OVERLAP_ONLY", "FREEZE_NORM", "SEMANTIC.ENABLED", "SEMANTIC.LEARNABLE")
            ),
            *(f"{HEAD}.{x}" for x in ("SPATIAL.ENABLED", "VISUAL.FUSED", "VISUAL.FEATURES_BEFORE_RELU")),
            *(
                f"{HEAD}.VISUAL.*_SKIP",
                f"{HEAD}.TEST.CONFUSION_SUBSET",
                f"{HEAD}.LOSS.*.BACKGROUND_IN_ARGMAX",
            ),
            *("TEST.BEST_CHECKPOINT", "TEST.SKIP_UNREADABLE", "MODEL.RELDN_TIMM.FREEZE_NORM"),
            *("INPUT.CROP.ENABLED", "SOLVER.CLIP_GRADIENTS.ENABLED"),
        ),
    ),
    ((("", *WORDS[0]), ("a",)), (f"{HEAD}.NAME", f"{HEAD}.LOSS.*.NAME", "MODEL.RELDN_TIMM.NAME")),
    (
        COUNTS_FROM_0,
        (
            *(f"{HEAD}.SAMPLING.*_PER_*", f"{HEAD}.TEST.CHUNK_SIZE", "INPUT.MIN_SIZE_TEST"),
            *("SOLVER.WARMUP_ITERS", "TEST.EVAL_PERIOD"),
        ),
    ),
    (
        COUNTS_FROM_1,
        (*("TEST.IMS_PER_BATCH", "INPUT.MAX_SIZE_*", "SOLVER.MAX_ITER", "SOLVER.CHECKPOINT_PERIOD"),),
    ),
    (CLASSES, (f"{HEAD}.NUM_PREDICATES", "MODEL.*.NUM_CLASSES", f"{HEAD}.TEST.TOP_K")),
    (
        FACTORS,
        (
            *(f"{HEAD}.LOSS.CROSS_ENTROPY_WEIGHT", f"{HEAD}.LOSS.*.WEIGHT", "SOLVER.*_LR_FACTOR"),
            *("SOLVER.BASE_LR", "SOLVER.GAMMA", "SOLVER.WEIGHT_DECAY"),
        ),
    ),
    ((tuple(x for x in FACTORS[0] if x is not None), (None, *FACTORS[1])), ("SOLVER.WEIGHT_DECAY_*",)),
    (
        SHARES,
        (
            f"{HEAD}.SEMANTIC.EPS",
            f"{HEAD}.LOSS.*.MARGIN",
            "DATALOADER.REPEAT_THRESHOLD",
            "SOLVER.WARMUP_FACTOR",
        ),
    ),
    (BELOW_1, (f"{HEAD}.VISUAL.DROPOUT", "MODEL.RELDN_VGG.DROPOUT", "SOLVER.MOMENTUM")),
    (ABOVE_0, (f"{HEAD}.SAMPLING.ENTITY_IOU_THRESHOLD",)),
    (
        NAMES,
        (*("DATASETS.*", f"{HEAD}.TEST.PROTOCOLS", f"{HEAD}.TEST.EXCLUDED_PREDICATES"),),
    ),
    (SIZES, ("INPUT.MIN_SIZE_TRAIN",)),
]


@pytest.fixture(scope="module")
def tiny_python() -> DictConfig:
    """The config of the file; tests change copies."""
    return load_lazy_config(TINY_LAZY)


def expected(setting: Setting) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What a row must refuse, and what it must accept: written here, and not read from the table."""
    if setting.key in OTHERS:
        return OTHERS[setting.key]
    found = [values for values, patterns in KINDS if any(fnmatchcase(setting.key, x) for x in patterns)]
    assert found, f"no values are written here for {setting.key}"
    return found[0]


def one_key(pattern: str) -> str:
    return pattern.replace("LOSS.*", "LOSS.PREDICATE_CLASS")


def test_every_key_of_this_package_has_a_row() -> None:
    own = CfgNode()
    add_reldn_config(own)
    missing = [key for key in leaves(own) if find_setting(key) is None]
    assert not missing
    rows = [one_key(x.key) for x in SETTINGS if x.key.partition(".")[0].isupper()]
    assert set(rows) <= set(leaves(default_config()))  # no row is of a key that does not exist


def test_the_defaults_are_possible() -> None:
    check_keys(leaves(default_config()).items())


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda x: x.key)
def test_each_key_names_what_is_impossible(setting: Setting) -> None:
    bad, good = expected(setting)
    key = one_key(setting.key)
    for value in good:
        check_keys([(key, value)])
    assert len(bad) >= 5
    for value in (*BAD_OF_ALL, *bad):
        with pytest.raises(ValueError) as error:
            check_keys([(key, value)], "a.yaml: ")
        assert str(error.value).startswith(f"a.yaml: {key} ")
        assert re.search(r"give |Write ", str(error.value)) and len(str(error.value)) < 400


CLOSE = [x for x in SETTINGS if x.key.partition(".")[0].isupper()]


def test_parts_of_a_config_that_code_changed_are_refused() -> None:
    """Any command and any trainer makes the parts before it loads data."""
    cfg: Any = load_config("scenes/reldn.yaml")
    for setting in CLOSE:
        key = one_key(setting.key)
        node, _, name = key.rpartition(".")
        holder = cfg
        for part in filter(None, node.split(".")):
            holder = holder[part]
        kept = holder[name]
        holder[name] = expected(setting)[0][0]
        with pytest.raises(ValueError, match=rf"^{re.escape(key)} "):
            parts_of(cfg)
        holder[name] = kept
    parts_of(cfg)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (f"{HEAD}.VISUAL.DROPOUT", "1.5", "is 1.5: give a number from 0 to below 1"),
        (f"{HEAD}.VISUAL.DROPOUT", "1", "is 1: give a number from 0 to below 1, written as 1.0"),
        (f"{HEAD}.VISUAL.DROPOUT", "abc", "is 'abc': give a number from 0 to below 1"),
        (f"{HEAD}.OVERLAP_ONLY", "1", "is 1: give True or False"),
        (f"{HEAD}.SEMANTIC.EPS", "-0.1", "is -0.1: give a number from 0 to 1"),
        (f"{HEAD}.SAMPLING", "1", "is 1, but it has keys of its own"),
        ("INPUT.MIN_SIZE_TRAIN", "800", r"is 800: give a list of sizes in pixels"),
        ("MODEL.RELDN_PRECISION", "None", "is None: give 'fp32' or 'bf16'"),
    ],
)
def test_files_and_overrides_are_named(key: str, value: str, message: str, tmp_path: Any) -> None:
    wanted = rf"{re.escape(key)} {message}"
    with pytest.raises(ValueError, match=rf"override {wanted}|override {re.escape(key)} {value}: {wanted}"):
        load_config("scenes/reldn.yaml", [key, value])
    file = tmp_path / "mine.yaml"
    text = "null" if value == "None" else value
    file.write_text(f"VERSION: 2\n{key.replace('.', ': {')}: {text}{'}' * key.count('.')}\n")
    with pytest.raises(ValueError, match=rf"^{file}.*{wanted}"):
        load_config(str(file))


def test_nan_in_a_file_is_named(tmp_path: Any) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("VERSION: 2\nSOLVER: {BASE_LR: .nan}\n")
    with pytest.raises(ValueError, match=r"SOLVER\.BASE_LR is nan: give a number from 0"):
        load_config(str(file))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"INPUT.MIN_SIZE_TRAIN_SAMPLING": "range"}, r"INPUT\.MIN_SIZE_TRAIN is \(192,\): give two sizes"),
        (
            {"INPUT.CROP.ENABLED": True, "INPUT.CROP.SIZE": [1.5, 0.5]},
            r"INPUT\.CROP\.SIZE is \[1\.5, 0\.5\]: give shares",
        ),
        ({"MODEL.PIXEL_STD": [1.0]}, r"MODEL\.PIXEL_STD is \[1\.0\]: give a number for each"),
        ({"INPUT.FORMAT": "L"}, r"INPUT\.FORMAT is 'L', .* 1, but MODEL\.PIXEL_MEAN has 3 numbers"),
        ({"INPUT.FORMAT": "RGBA"}, r"INPUT\.FORMAT is 'RGBA', .* 4, but MODEL\.PIXEL_MEAN has 3 numbers"),
    ],
)
def test_settings_of_pictures_must_fit_together(settings: dict[str, Any], message: str) -> None:
    words = [word for key, value in settings.items() for word in (key, str(value))]
    with pytest.raises(ValueError, match=message):
        parts_of(load_config("scenes/reldn.yaml", words))
    more = ["INPUT.MIN_SIZE_TRAIN", "(100, 192)", "INPUT.CROP.SIZE", "[0.5, 0.5]"]
    one = ["INPUT.FORMAT", "L"]
    means = ["MODEL.PIXEL_MEAN", "[0.0]", "MODEL.PIXEL_STD", "[1.0]"]
    parts_of(load_config("scenes/reldn.yaml", [*words, *more, *one, *means]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((f"{HEAD}.TEST.PROTOCOLS", "('motif',)"), "unknown protocol 'motif'.*did you mean motifs"),
        ((f"{HEAD}.TEST.TOP_K", "5"), "TEST.TOP_K is 5, but a protocol ranks 100 relationships"),
        (
            (f"{HEAD}.TEST.EXCLUDED_PREDICATES", "('nope',)", f"{HEAD}.TEST.PROTOCOLS", "('openimages',)"),
            r"excludes \['nope'\], which the data set does not have",
        ),
    ],
)
def test_what_only_the_evaluation_uses_is_checked_before_the_training(
    words: tuple[str, ...], message: str, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(YamlParts, "training_data", None)  # it is not loaded
    with pytest.raises(ValueError, match=message):
        build_training(parts_of(tiny_config(*words)))


@pytest.mark.parametrize("config", ["scenes/reldn.yaml", "scenes/detector.yaml"])
@pytest.mark.parametrize(
    ("key", "name", "near"),
    [
        ("MODEL.META_ARCHITECTURE", "GeneralisedRCNN", "GeneralizedRCNN"),
        ("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbon", "build_resnet_fpn_backbone"),
        ("MODEL.PROPOSAL_GENERATOR.NAME", "RPM", "RPN"),
        ("MODEL.RPN.HEAD_NAME", "StandartRPNHead", "StandardRPNHead"),
        ("MODEL.ANCHOR_GENERATOR.NAME", "DefaultAnchor", "DefaultAnchorGenerator"),
        ("MODEL.ROI_HEADS.NAME", "StandardROIHead", "StandardROIHeads"),
        ("MODEL.ROI_BOX_HEAD.NAME", "FastRCNNConvFC", "FastRCNNConvFCHead"),
    ],
)
def test_a_part_that_is_not_registered_is_named_with_similar_ones(
    config: str, key: str, name: str, near: str
) -> None:
    message = rf"not registered \({re.escape(key)} is '{name}'; did you mean (\w+ or )*{near}\b"
    with pytest.raises(ValueError, match=message):
        parts_of(load_config(config, [key, name]))


def test_names_of_parts_that_are_never_made_may_be_any() -> None:
    words = ["MODEL.ROI_MASK_HEAD.NAME", "Mine", "MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"]
    parts_of(load_config("scenes/detector.yaml", [*words, "MODEL.RPN.HEAD_NAME", "Mine"]))
    with pytest.raises(
        ValueError, match=r"MODEL\.ROI_MASK_HEAD\.NAME is 'Mine'; registered are .*\bMaskRCNNConvUpsampleHead"
    ):
        parts_of(load_config("scenes/detector.yaml", [*words, "MODEL.MASK_ON", "True"]))


@pytest.mark.parametrize("test_sets", ["()", "('reldn_scenes_tiny_test',)"])
def test_protocols_are_checked_also_without_a_test_set(test_sets: str) -> None:
    words = ["DATASETS.TEST", test_sets, f"{HEAD}.TEST.PROTOCOLS", "('motif',)"]
    with pytest.raises(ValueError, match=r"TEST\.PROTOCOLS: unknown protocol 'motif'.*did you mean motifs"):
        parts_of(load_config("scenes/reldn.yaml", words))


def test_protocols_of_a_config_in_python_are_checked_also_without_a_test_set(tiny_python: DictConfig) -> None:
    cfg = deepcopy(tiny_python)
    cfg.datasets.test = ""
    cfg.dataloader.evaluator.protocols.names = ["motif"]
    with pytest.raises(ValueError, match=r"protocols\.names: unknown protocol 'motif'.*did you mean motifs"):
        parts_of(cfg)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("SOLVER.LR_SCHEDULER_NAME", "WarmupCosinLR"),
            "SOLVER.LR_SCHEDULER_NAME WarmupCosinLR .*Unknown LR",
        ),
        (
            ("SOLVER.MAX_ITER", "1", "SOLVER.STEPS", "(0,)"),
            r"SOLVER.STEPS \(0,\) and SOLVER.MAX_ITER 1 can't be",
        ),
    ],
)
def test_a_schedule_that_does_not_fit_names_its_keys(
    words: tuple[str, ...], message: str, tiny_config: TinyConfig
) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(ValueError, match=message):
        parts_of(tiny_config(*words)).lr_scheduler(optimizer)


def test_protocols_of_a_config_in_python_are_checked_before_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LazyParts, "training_data", None)
    words = ["dataloader.evaluator.protocols.names=[motif]", "train.device=cpu"]
    with pytest.raises(ValueError, match=r"unknown protocol 'motif'.*did you mean motifs"):
        build_training(parts_of(load_lazy_config(TINY_LAZY, words)))


def test_keys_below_a_value_are_named(tmp_path: Any) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("VERSION: 2\nMODEL: {DEVICE: {X: 1}}\n")
    with pytest.raises(ValueError, match=r"mine\.yaml.*MODEL\.DEVICE has the keys X: 1, but takes a value"):
        load_config(str(file))


def test_words_that_yaml_reads_as_flags_are_no_names(tmp_path: Any) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("VERSION: 2\nMODEL: {ROI_RELATION_HEAD: {TEST: {EXCLUDED_PREDICATES: [on, under]}}}\n")
    with pytest.raises(ValueError, match=r"EXCLUDED_PREDICATES is \(True, 'under'\): give .* in quotes"):
        load_config(str(file))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("MODEL: 3", "MODEL is 3, but it has keys of its own"),
        ("MODEL: {BACKBONE: {NAME: {X: 1}}}", "MODEL.BACKBONE.NAME has keys here, but is the value"),
        ("MODEL: {SAMPLING: {METHOD: paper}}", f"did you mean {HEAD}.SAMPLING"),
        ("SAMPLING: {METHOD: paper}", f"did you mean {HEAD}.SAMPLING"),
        (f"{HEAD}.SAMPLING.METHOD: paper", "write MODEL: {ROI_RELATION_HEAD: {SAMPLING: {METHOD: VALUE}}}"),
        ("MODEL: {ROI_RELATION_HEAD: {LOSS: {NORMALISATION: anchors}}}", "did you mean NORMALIZATION"),
        ("MODEL: {ROI_RELATION_HEAD: {NAME: RelDNHed}}", "NAME is 'RelDNHed', but registered are"),
    ],
)
def test_misspelt_and_misplaced_keys_of_a_file_are_named(file: str, message: str, tmp_path: Any) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"_BASE_: {REPOSITORY}/configs/scenes/reldn.yaml\n{file}\n")
    with pytest.raises(ValueError, match=re.escape(message)):
        parts_of(load_config(str(path)))


@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("SAMPLING.METHD", f"{HEAD}.SAMPLING.METHOD"),
        ("TEST.CHUNK_SIZE", f"{HEAD}.TEST.CHUNK_SIZE"),
        ("model.device", "MODEL.DEVICE"),
        ("SOLVER.MAXITER", "SOLVER.MAX_ITER"),
        ("VISUAL.DROPUOT", f"{HEAD}.VISUAL.DROPOUT"),
    ],
)
def test_a_misspelt_override_names_the_key_that_may_be_meant(key: str, first: str) -> None:
    assert similar_keys(key, leaves(default_config()))[0] == first
    with pytest.raises(ValueError, match=re.escape(first)):
        load_config("scenes/reldn.yaml", [key, "1"])


PYTHON = [
    ("train.max_iter=0", "train.max_iter is 0: give a whole number of 1 or more"),
    ("train.precision=fp16", "train.precision is 'fp16': give 'fp32' or 'bf16'"),
    ("optimizer.lr=nan", "optimizer.lr is nan: give a number from 0"),
    ("datasets.train=[3]", r"datasets.train is [3]: give a list of names"),
    ("model.task=all", "model.task is 'all': give 'sgdet' or 'sgcls' or 'prdcls'"),
    *(
        (f"model.relation_head.{x}", f"model.relation_head.{message}")
        for x, message in (
            ("sample_pairs.partners_per_anchor=-1", "sample_pairs.partners_per_anchor is -1: give a whole"),
            ("pair_classifier.visual.dropout='0.5'", "pair_classifier.visual.dropout is '0.5': give"),
            (
                "contrastive_losses.terms.entity_class.margin=true",
                "contrastive_losses.terms.entity_class.margin",
            ),
            ("sample_pairs.overlap_only=1", "sample_pairs.overlap_only is 1: give True or False"),
            ("chunk_size=-1", "chunk_size is -1: give a whole number of 0 or more"),
        )
    ),
    (
        "dataloader.test.mapper.image_format=XYZ",
        "dataloader.test.mapper.image_format is 'XYZ': give a format",
    ),
    ("dataloader.test.batch_size=0", "dataloader.test.batch_size is 0: give a whole number of 1 or more"),
    (
        "dataloader.train.mapper.augmentations.0.max_size=0",
        "dataloader.train.mapper.augmentations.0.max_size is 0: give",
    ),
    ("train.output_dir='${nowhere}'", "a reference leads nowhere"),
    ("train.output_dir=''", "train.output_dir is '': give the name of a folder"),
    (
        "dataloader.train.mapper.image_format=L",
        "dataloader.train.mapper.image_format is 'L', whose number of channels is 1, but model.pixel_mean",
    ),
    (
        "dataloader.test.mapper.image_format=RGBA",
        "dataloader.test.mapper.image_format is 'RGBA', whose number of channels is 4, but model.pixel_mean",
    ),
    ("model.pixel_std=[1.0]", "model.pixel_std is [1.0]: give a number for each of model.pixel_mean, ["),
]


@pytest.mark.parametrize(("override", "message"), PYTHON, ids=lambda x: x.partition("=")[0])
def test_values_of_configs_in_python_are_named(override: str, message: str, tiny_python: DictConfig) -> None:
    with pytest.raises(ValueError, match=rf"tiny_lazy\.py: .*{re.escape(message)}"):
        override_lazy_config(deepcopy(tiny_python), [override], "tiny_lazy.py")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda cfg: cfg.model.relation_head.sample_pairs.update(partners_per_ancor=3),
            "sample_pairs: PairSampler takes no argument 'partners_per_ancor': did you mean partners_per",
        ),
        (
            lambda cfg: cfg.model.update(freeze_nrm=True),
            "model: RelDN takes no argument 'freeze_nrm': did you",
        ),
        (lambda cfg: cfg.train.update(best_chekpoint=True), "did you mean train.best_checkpoint"),
        (lambda cfg: cfg.datasets.update(test_detection=[]), "did you mean datasets.test_detections"),
        (
            lambda cfg: cfg.model.relation_head.sample_pairs.update(anchors_per_image=-1),
            "anchors_per_image is -1",
        ),
    ],
)
def test_a_config_in_python_that_code_changed_is_refused(
    change: Callable[[Any], None], message: str, tiny_python: DictConfig
) -> None:
    cfg = deepcopy(tiny_python)
    OmegaConf.set_struct(cfg, False)
    change(cfg)
    with pytest.raises(ValueError, match=message):
        parts_of(cfg)


def test_a_reference_of_a_part_that_is_never_made_may_lead_nowhere(tiny_python: DictConfig) -> None:
    cfg = deepcopy(tiny_python)
    cfg.dataloader.statistics.num_predicates = "${model.no_such_key}"
    parts_of(cfg)
    cfg.dataloader.statistics.overlap_only = 3
    with pytest.raises(ValueError, match=r"statistics\.overlap_only is 3: give True or False"):
        parts_of(cfg)


def test_arguments_of_constructors_name_argument_and_key() -> None:
    with pytest.raises(
        ValueError, match=r"dropout of VisualModule is nan: .* \(in a config: .*VISUAL.DROPOUT\)"
    ):
        check_arguments("VisualModule", dropout=math.nan)
    check_arguments("VisualModule", dropout=0.5)
