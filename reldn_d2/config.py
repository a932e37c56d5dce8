"""Configuration keys that RelDN adds to Detectron2's."""

from detectron2.config import CfgNode as CN

#: Keys of earlier releases, and their names today; None: the key has no effect any more.
OLD_KEYS: dict[str, str | None] = {
    "MODEL.ROI_RELATION_HEAD.TEST.LEFT_OUT_PREDICATES": "MODEL.ROI_RELATION_HEAD.TEST.EXCLUDED_PREDICATES",
    "MODEL.ROI_RELATION_HEAD.TEST.EXHAUSTIVE": None,
}


def add_reldn_config(cfg: CN) -> None:
    """Adds the keys of RelDN, with their defaults, to a Detectron2 config. Changes no existing key."""
    cfg.MODEL.ROI_RELATION_HEAD = head = CN()
    head.NAME = "RelDNHead"  # in ROI_RELATION_HEAD_REGISTRY
    # A RelDN checkpoint whose relation part training starts from, while MODEL.WEIGHTS gives the detector;
    # empty: the relation part starts from MODEL.WEIGHTS too.
    head.WEIGHTS = ""
    # Predicate classes, without the background ("no relationship"), which is always the last index.
    head.NUM_PREDICATES = 9
    # Only pairs whose boxes overlap: in training, in SGDET, and in the background column of the semantic
    # table.
    head.OVERLAP_ONLY = False
    # Frozen normalisation layers in the predicate backbone and in the heads, as published.
    head.FREEZE_NORM = True

    # The three modules of section 4, each switchable (Table 3). The visual module is off if all its parts
    # are.
    head.SEMANTIC = CN()
    head.SEMANTIC.ENABLED = True
    # Train the table of log probabilities, as the published code did; the paper's text has it frozen.
    head.SEMANTIC.LEARNABLE = False
    head.SEMANTIC.EPS = 1e-3
    # Background count of a training image: ordered pairs of entities without a relationship ("unrelated"), or
    # all pairs of the entities that are in some relationship, related ones too ("all", as the published
    # code).
    head.SEMANTIC.BACKGROUND_COUNT = "unrelated"
    head.SPATIAL = CN()
    head.SPATIAL.ENABLED = True
    head.VISUAL = CN()
    head.VISUAL.FUSED = True  # the <S, P, O> branch
    head.VISUAL.SUBJECT_SKIP = True
    head.VISUAL.OBJECT_SKIP = True
    # Subject, object and predicate features are taken before the last ReLU of the box heads, as in the
    # published code.
    head.VISUAL.FEATURES_BEFORE_RELU = False
    # Share of the subject, object and predicate features dropped in training. Not in the paper: for small
    # data sets.
    head.VISUAL.DROPOUT = 0.0

    # Losses (section 3): L = L0 + λ1·L1 + λ2·L2 + λ3·L3. Every block is a contrastive term: NAME is a class
    # in CONTRASTIVE_TERM_REGISTRY, the other keys are its arguments. A weight of 0 switches a loss off.
    # Configs may add blocks.
    head.LOSS = CN(new_allowed=True)
    head.LOSS.CROSS_ENTROPY_WEIGHT = 1.0  # L0
    head.LOSS.CLASS_AGNOSTIC = CN({"NAME": "ClassAgnosticTerm", "WEIGHT": 1.0, "MARGIN": 0.2})  # L1
    head.LOSS.ENTITY_CLASS = CN({"NAME": "EntityClassTerm", "WEIGHT": 0.5, "MARGIN": 0.2})  # L2
    head.LOSS.PREDICATE_CLASS = CN({"NAME": "PredicateClassTerm", "WEIGHT": 0.1, "MARGIN": 0.2})  # L3
    # Whether ∅ competes in the argmax that makes an unrelated pair a negative of L3.
    head.LOSS.PREDICATE_CLASS.BACKGROUND_IN_ARGMAX = False
    # "anchors": mean over an anchor's cells, then over anchors. "published": flat mean over cells plus a
    # zero.
    head.LOSS.NORMALIZATION = "anchors"

    # Training pairs (sections 3.4 and 5).
    head.SAMPLING = CN()
    # "paper": ground truth and the detections that overlap it; every annotated predicate of a pair; each
    # anchor with its partners. "published": foreground proposals, first predicate of a pair, pairs drawn
    # whatever their anchor.
    head.SAMPLING.METHOD = "paper"
    head.SAMPLING.ENTITY_IOU_THRESHOLD = 0.5  # least IoU of a detection with ground truth ("paper")
    head.SAMPLING.BATCH_SIZE_PER_IMAGE = 512  # pairs of L0
    head.SAMPLING.POSITIVES_PER_IMAGE = 128  # of them related, at most
    head.SAMPLING.ANCHORS_PER_IMAGE = (
        128  # subjects, and objects, with a relationship; pairs a side if "published"
    )
    head.SAMPLING.PARTNERS_PER_ANCHOR = 64  # unrelated partners of each anchor ("paper")

    head.TEST = CN()
    # "sgdet": everything predicted. "sgcls": ground-truth boxes given. "prdcls": boxes and classes given.
    head.TEST.TASK = "sgdet"
    head.TEST.TOP_K = 100  # relationships an image
    head.TEST.CHUNK_SIZE = 256  # unordered pairs scored at a time: bounds the memory
    # Protocols to report, see docs/evaluation.md; one that is not defined for the task is left out.
    head.TEST.PROTOCOLS = ("motifs", "reldn", "confusion")
    head.TEST.PREDICATES_PER_PAIR = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)  # the k's of protocol reldn
    # Names excluded from the starred numbers of protocols openimages and reldn_openimages.
    head.TEST.EXCLUDED_PREDICATES = ()
    # Report every protocol a second time, on the images with a confusable case alone.
    head.TEST.CONFUSION_SUBSET = False

    # Data sets that the semantic table is counted over; empty: DATASETS.TRAIN. For a subset, name the full
    # set.
    cfg.DATASETS.STATISTICS = ()
    # Detections computed beforehand, one file per data set (tools/cache_detections.py); empty: run the
    # detector.
    cfg.DATASETS.DETECTION_FILES_TRAIN = ()
    cfg.DATASETS.DETECTION_FILES_TEST = ()

    # DATALOADER.SAMPLER_TRAIN, Detectron2's key, knows one more name: "PredicateRepeatFactorTrainingSampler".
    # It draws images with a predicate that fewer than DATALOADER.REPEAT_THRESHOLD of the images have more
    # often, as Detectron2's RepeatFactorTrainingSampler does for classes.

    # Images an inference step, on each device. Smaller images of a batch are padded, which changes their
    # features at the border; comparable numbers take 1, as Detectron2 does.
    cfg.TEST.IMS_PER_BATCH = 1

    # Learning rate of the predicate backbone and of its box head, times this.
    cfg.SOLVER.PREDICATE_BACKBONE_LR_FACTOR = 0.1

    # Backbones from timm (build_timm_backbone, build_timm_fpn_backbone).
    cfg.MODEL.TIMM = CN()
    cfg.MODEL.TIMM.NAME = "tf_efficientnet_lite0"
    cfg.MODEL.TIMM.FREEZE_NORM = (
        True  # batch normalisation with the statistics of the checkpoint, as "FrozenBN"
    )

    # VGG-16 (build_vgg16_backbone, VGGBoxHead).
    cfg.MODEL.VGG = CN()
    cfg.MODEL.VGG.CHANNELS = [64, 128, 256, 512, 512]  # of the five blocks
    cfg.MODEL.VGG.DROPOUT = 0.5  # after both fully connected layers of the box head

    # For projects that merge a config file of an earlier release themselves: a warning instead of an error.
    # `reldn_d2.engine.load_config` converts the values.
    for key in OLD_KEYS:
        cfg.register_deprecated_key(key)
