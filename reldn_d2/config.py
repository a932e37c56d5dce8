"""Configuration keys that RelDN adds to Detectron2's."""

from collections.abc import Callable
from typing import TypeVar

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg

from .renamed import OLD_KEYS, OLD_NODES

#: Protocols that say something about any data set.
USUAL_PROTOCOLS = ("motifs", "reldn", "confusion")


_AddKeys = TypeVar("_AddKeys", bound=Callable[[CN], object])
_projects: list[Callable[[CN], object]] = []


def register_config(function: _AddKeys) -> _AddKeys:
    """Makes the config keys of another project known to the commands of RelDN. Also a decorator.

    A module for `--import` calls it. Registering the same function again changes nothing.

    Args:
        function: called as `function(cfg)` after `add_reldn_config(cfg)`, for every config in YAML. It adds
            the project's keys with their defaults to the config.

    Returns:
        The same function.
    """
    if function not in _projects:
        _projects.append(function)
    return function


def default_config() -> CN:
    """The defaults of Detectron2, of RelDN and of the projects of `register_config`, in this order."""
    cfg = get_cfg()
    add_reldn_config(cfg)
    for function in _projects:
        function(cfg)
    return cfg


def add_reldn_config(cfg: CN) -> None:
    """Adds the keys of RelDN, with their defaults, to a Detectron2 config.

    A key that exists already, such as a key of another project, keeps its value. So calling this twice
    changes nothing.
    """
    _add_absent(cfg, _defaults())
    # For projects that merge a config file of an earlier release themselves: a warning instead of an error.
    # `reldn_d2.engine.load_config` converts the values. A node without a present name is deprecated as a
    # whole, and not its keys: yacs does not look at this if another project has such a node.
    # Its public test of a deprecated key gives a warning.
    known = cfg.__dict__[CN.DEPRECATED_KEYS]
    nodes = {key: key.rpartition(".")[0] for key in OLD_KEYS}
    for deprecated in {node if node in OLD_NODES else key for key, node in nodes.items()} - known:
        cfg.register_deprecated_key(deprecated)


def _add_absent(cfg: CN, added: CN, path: str = "") -> None:
    for key, value in added.items():
        if key not in cfg:
            setattr(cfg, key, value)  # refuses a frozen config
        elif isinstance(value, CN):
            if not isinstance(cfg[key], CN):
                raise ValueError(
                    f"the config has {path}{key} = {cfg[key]!r}, where RelDN has a node with keys: another "
                    "project uses this name, so the two can't share one config"
                )
            _add_absent(cfg[key], value, f"{path}{key}.")


def _defaults() -> CN:
    """The keys of RelDN alone."""
    cfg = CN({name: CN() for name in ("MODEL", "INPUT", "DATASETS", "TEST", "SOLVER")})
    cfg.MODEL.ROI_RELATION_HEAD = head = CN()
    head.NAME = "RelDNHead"  # in ROI_RELATION_HEAD_REGISTRY
    # RelDN checkpoint whose relation part the training starts from. MODEL.WEIGHTS still gives the detector.
    # Empty: both come from MODEL.WEIGHTS.
    head.WEIGHTS = ""
    # Number of predicates, without the background ("no relationship"), which is always the last index.
    head.NUM_PREDICATES = 9
    # Use only pairs whose boxes overlap: in training, in sgdet, and for the background in the semantic table.
    head.OVERLAP_ONLY = False
    # Freeze the normalisation layers of what starts as a copy of the detector, as published.
    head.FREEZE_NORM = True

    # The three modules of section 4. Each can be switched off (Table 3). The visual module is off if its
    # three branches are.
    head.SEMANTIC = CN()
    head.SEMANTIC.ENABLED = True
    # Train the table of log probabilities, as the published code did. In the paper's text it is frozen. Only
    # a table of up to 1 GB (classes x classes x (predicates + 1) x 4 bytes) is trained.
    head.SEMANTIC.LEARNABLE = False
    head.SEMANTIC.EPS = 1e-3
    # Pairs of a training image that count as background. "unrelated": ordered pairs of entities without a
    # relationship. "all", as in the published code: all pairs of the boxes that are in a relationship,
    # including related pairs. Equal boxes are one entity, and a box holds its last pixel.
    head.SEMANTIC.BACKGROUND_COUNT = "unrelated"
    head.SPATIAL = CN()
    head.SPATIAL.ENABLED = True
    head.VISUAL = CN()
    head.VISUAL.FUSED = True  # the <S, P, O> branch
    head.VISUAL.SUBJECT_SKIP = True
    head.VISUAL.OBJECT_SKIP = True
    # Take subject, object and predicate features before the last ReLU of the box heads, as published.
    head.VISUAL.FEATURES_BEFORE_RELU = False
    # Share of the subject, object and predicate features that training drops. Not in the paper; it helps
    # with small data sets.
    head.VISUAL.DROPOUT = 0.0

    # Losses (section 3): L = L0 + λ1·L1 + λ2·L2 + λ3·L3. Every block is a contrastive term: NAME is a class
    # in CONTRASTIVE_TERM_REGISTRY, the other keys are its arguments. A weight of 0 switches a loss off.
    # Configs may add blocks.
    head.LOSS = CN(new_allowed=True)
    head.LOSS.CROSS_ENTROPY_WEIGHT = 1.0  # L0
    head.LOSS.CLASS_AGNOSTIC = CN({"NAME": "ClassAgnosticTerm", "WEIGHT": 1.0, "MARGIN": 0.2})  # L1
    head.LOSS.ENTITY_CLASS = CN({"NAME": "EntityClassTerm", "WEIGHT": 0.5, "MARGIN": 0.2})  # L2
    head.LOSS.PREDICATE_CLASS = CN({"NAME": "PredicateClassTerm", "WEIGHT": 0.1, "MARGIN": 0.2})  # L3
    # Whether ∅ takes part in the argmax that makes an unrelated pair the negative of a predicate in L3.
    head.LOSS.PREDICATE_CLASS.BACKGROUND_IN_ARGMAX = False
    # Average of the hinges. "anchors": mean over the cells of each anchor, then over the anchors.
    # "published": sum over all cells, divided by their number plus one.
    head.LOSS.NORMALIZATION = "anchors"

    # Training pairs (sections 3.4 and 5).
    head.SAMPLING = CN()
    # "paper": entities are the ground truth and the detections that overlap it, a pair has all its annotated
    # predicates, and contrastive pairs are drawn for each anchor. "published": entities are foreground
    # proposals of the RPN's training limits, a pair has one predicate, annotated pairs are drawn once more,
    # and contrastive pairs are drawn regardless of anchors. docs/architecture.md compares the two.
    head.SAMPLING.METHOD = "paper"
    head.SAMPLING.ENTITY_IOU_THRESHOLD = 0.5  # least IoU of a detection with the ground truth ("paper")
    head.SAMPLING.BATCH_SIZE_PER_IMAGE = 512  # number of pairs for L0
    head.SAMPLING.POSITIVES_PER_IMAGE = 128  # at most so many of them are related
    # "paper": number of subjects, and of objects, that are anchors. "published": number of related pairs, and
    # of unrelated pairs, for each side.
    head.SAMPLING.ANCHORS_PER_IMAGE = 128
    head.SAMPLING.PARTNERS_PER_ANCHOR = 64  # number of unrelated partners of each anchor ("paper")

    head.TEST = CN()
    # "sgdet": all is predicted. "sgcls": ground-truth boxes are given. "prdcls": their classes, too.
    head.TEST.TASK = "sgdet"
    head.TEST.TOP_K = 100  # number of relationships for each image
    # Number of unordered pairs scored at a time, limits the memory. 0: 256 on a CPU; on a GPU as many as half
    # of its free memory has room for, at most 1,024.
    head.TEST.CHUNK_SIZE = 0
    # Protocols to report, see docs/evaluation.md. Protocols that are not defined for the task are left out.
    head.TEST.PROTOCOLS = USUAL_PROTOCOLS
    head.TEST.PREDICATES_PER_PAIR = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)  # values of k for protocol reldn
    # Predicates excluded from the starred numbers of the protocols openimages and reldn_openimages.
    head.TEST.EXCLUDED_PREDICATES = ()
    # Also report every protocol on only the images that have a confusable case.
    head.TEST.CONFUSION_SUBSET = False

    # How test images are resized to MIN_SIZE_TEST and MAX_SIZE_TEST. "sides", as Detectron2 does: to rounded
    # sides, by Pillow. "factor", as the published code does: by one factor, by OpenCV, without smoothing.
    cfg.INPUT.RELDN_RESIZE_TEST = "sides"

    # Data sets that the semantic table is counted over; empty: DATASETS.TRAIN. To train on a subset, name the
    # full set here.
    cfg.DATASETS.STATISTICS = ()
    # What a run does about a data set whose annotation has errors (docs/training.md): "error" stops it before
    # the first step, "warn" says them and goes on.
    cfg.DATASETS.CHECK = "error"
    # Precomputed detections, one file per data set (`reldn cache-detections`); empty: the detector runs.
    cfg.DATASETS.DETECTION_FILES_TRAIN = ()
    cfg.DATASETS.DETECTION_FILES_TEST = ()

    # Detectron2's key DATALOADER.SAMPLER_TRAIN accepts one more name,
    # "RelDNPredicateRepeatFactorTrainingSampler". It repeats images with a rare predicate, which less than
    # the share DATALOADER.REPEAT_THRESHOLD of the images have. Detectron2's
    # RepeatFactorTrainingSampler does this for entity classes.

    # Number of images in an inference step, on each device. Smaller images of a batch are padded, which
    # changes their features at the border. Use 1, as Detectron2 does, for comparable numbers.
    cfg.TEST.IMS_PER_BATCH = 1

    # Keep the weights of the best evaluation in model_best.pth, too. The best has the highest headline number
    # (docs/evaluation.md). Needs TEST.EVAL_PERIOD.
    cfg.TEST.BEST_CHECKPOINT = False

    # Exclude images whose picture can't be read from an evaluation, and list them. Otherwise they are errors.
    cfg.TEST.SKIP_UNREADABLE = False

    # Factor of the learning rate for the predicate backbone and its box head.
    cfg.SOLVER.PREDICATE_BACKBONE_LR_FACTOR = 0.1

    # Precision of matrix products and convolutions, in training and inference: "fp32", or "bf16" (autocast;
    # weights and losses stay float32). SOLVER.AMP.ENABLED is Detectron2's fp16 training on GPUs.
    cfg.MODEL.RELDN_PRECISION = "fp32"

    # Backbones from timm (build_reldn_timm_backbone, build_reldn_timm_fpn_backbone).
    cfg.MODEL.RELDN_TIMM = CN()
    cfg.MODEL.RELDN_TIMM.NAME = "tf_efficientnet_lite0"
    # Batch normalisation keeps the statistics of the checkpoint, as Detectron2's "FrozenBN" does.
    cfg.MODEL.RELDN_TIMM.FREEZE_NORM = True

    # VGG-16 (build_reldn_vgg16_backbone, RelDNVGGBoxHead).
    cfg.MODEL.RELDN_VGG = CN()
    cfg.MODEL.RELDN_VGG.CHANNELS = [64, 128, 256, 512, 512]  # in the five blocks
    cfg.MODEL.RELDN_VGG.DROPOUT = 0.5  # after both fully connected layers of the box head
    return cfg
