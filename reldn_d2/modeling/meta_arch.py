"""RelDN as a Detectron2 meta-architecture: a frozen detector, a predicate backbone and a relation head."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, cast

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers.batch_norm import LayerNorm
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from reldn_d2.config_values import check_arguments, check_keys
from reldn_d2.structures import EntityBatch, Queries

from .acceleration.precision import at_least_float32
from .acceleration.prepared_layers import fixed_weights
from .acceleration.shared_start import SharedStart, Started
from .backbone_checks import check_one_map_per_image, freeze_unused_levels
from .inputs import require_instances, require_relations
from .memory_errors import memory_error_names
from .passes import passes
from .postprocessing import relation_postprocess
from .queries import TranslatedQueries
from .region_heads import class_probabilities, region_parts
from .relation_head import (
    PairSampler,
    PublishedPairSampler,
    RelationHead,
    build_relation_head,
    check_relation_head,
)
from .relation_head.contract import check_refined, check_results
from .relation_head.entities import (
    entity_batch,
    given_entities,
    refined_entities,
    sampled_proposals,
    training_entities,
)
from .relation_head.fixed_shapes import true_rows_of_each
from .start_from_detector import start_from_detector
from .training_setup import TrainingSetup, note_loaded_weights
from .visualize_training import training_picture

logger = logging.getLogger(__name__)

TASKS = ("sgdet", "sgcls", "prdcls")
_METHOD = "MODEL.ROI_RELATION_HEAD.SAMPLING.METHOD"


@META_ARCH_REGISTRY.register()
class RelDN(GeneralizedRCNN):
    """Relationship detector of "Graphical Contrastive Losses for Scene Graph Parsing" (CVPR 2019).

    The detector (`backbone`, `proposal_generator`, `roi_heads`) is frozen and stays in eval mode. The
    predicate backbone and the relation head are trained. If a checkpoint of a detector is loaded, the
    predicate backbone and what the head names (`RelationHead.detector_copies`) start as copies of it.
    """

    relation_backbone: Backbone | None
    relation_head: RelationHead

    @configurable
    def __init__(
        self,
        *,
        relation_backbone: Backbone | None,
        relation_head: RelationHead,
        task: str = "sgdet",
        entity_iou_threshold: float = 0.5,
        entities_from_proposals: bool = False,
        freeze_norm: bool = True,
        **detector: Any,
    ) -> None:
        """Puts the parts together and freezes the detector.

        Args:
            relation_backbone: predicate backbone, with the structure of the detector's backbone. It is not
                used if the head reads none of its features, and may be None then.
            relation_head: relation head, see `ROI_RELATION_HEAD_REGISTRY`.
            task: "sgdet", "sgcls" or "prdcls": what inference takes from the ground truth. May be changed
                later.
            entity_iou_threshold: detections of lower IoU with the ground truth are not used in training.
            entities_from_proposals: whether to train on sampled foreground proposals, as the published code
                does, instead of on ground truth and detections. A head with a `PublishedPairSampler` needs
                it, and one with a `PairSampler` must not have it.
            freeze_norm: whether to freeze the normalisation layers of the predicate backbone and of what
                starts as a copy of the detector in the relation head.
            detector: arguments of GeneralizedRCNN.

        Raises:
            ValueError: a value is not possible (`SETTINGS`), `region_parts` does not accept the ROI heads,
                the relation head breaks its contract or lacks a predicate backbone, its sampler and
                `entities_from_proposals` do not belong together, or a backbone lacks a map or gives several
                for one image.
        """
        super().__init__(**detector)
        check_arguments(
            "RelDN", task=task, entity_iou_threshold=entity_iou_threshold, freeze_norm=freeze_norm
        )
        region_parts(self.roi_heads)  # raises for ROI heads that RelDN cannot use
        uses_backbone = check_relation_head(relation_head).uses_relation_features
        if relation_backbone is None and uses_backbone:
            raise ValueError(
                f"{type(relation_head).__name__} reads feature maps of a predicate backbone, but "
                "relation_backbone is None: give a copy of the detector's backbone"
            )
        # A backbone that the head does not read would have no gradient.
        self.relation_backbone = relation_backbone if uses_backbone else None
        self.relation_head = relation_head
        self.task = task
        self.entity_iou_threshold = entity_iou_threshold
        _check_sampling(relation_head, entities_from_proposals)
        self.entities_from_proposals = entities_from_proposals
        self.freeze_norm = freeze_norm
        for module in self._frozen_modules():
            module.requires_grad_(False)
            module.eval()
        channels = len(self.pixel_mean)
        if self.relation_backbone is not None:  # a copy of the detector's
            pooled = self.relation_head.relation_in_features
            freeze_unused_levels(self.relation_backbone, pooled, channels)
        elif self.relation_head.uses_detector_features:
            check_one_map_per_image(self.backbone, region_parts(self.roi_heads).in_features, channels)
        self.register_load_state_dict_pre_hook(start_from_detector)
        self.training_setup = TrainingSetup()
        self._shared_start = SharedStart()
        self.register_load_state_dict_pre_hook(note_loaded_weights)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Builds the parts that the config describes."""
        head = cfg.MODEL.ROI_RELATION_HEAD
        check_keys([(_METHOD, head.SAMPLING.METHOD)])
        args: dict[str, Any] = super().from_config(cfg)
        relation_head = build_relation_head(cfg, args["backbone"].output_shape())
        return {
            **args,
            "relation_backbone": build_backbone(cfg) if relation_head.uses_relation_features else None,
            "relation_head": relation_head,
            "task": head.TEST.TASK,
            "entity_iou_threshold": head.SAMPLING.ENTITY_IOU_THRESHOLD,
            "entities_from_proposals": head.SAMPLING.METHOD == "published",
            "freeze_norm": head.FREEZE_NORM,
        }

    def train(self, mode: bool = True) -> "RelDN":
        """Sets the mode of the trained parts; frozen parts stay frozen and in eval mode.

        What is frozen is looked up each time, because other code may replace layers or the whole backbone.
        """
        super().train(mode)
        thawed = []
        for module in self._frozen_modules():
            module.eval()
            if any(parameter.requires_grad for parameter in module.parameters()):
                module.requires_grad_(False)
                thawed.append(type(module).__name__)
        if thawed:
            logger.warning(
                "%s required a gradient and were frozen again: RelDN runs its detector without gradient "
                "(train it as stage 1, META_ARCHITECTURE: GeneralizedRCNN), and FREEZE_NORM freezes "
                "normalisation layers",
                ", ".join(dict.fromkeys(thawed)),
            )
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        """The detector, and with `freeze_norm` the normalisation layers of what starts as a copy of it."""
        detector = (self.backbone, self.proposal_generator, self.roi_heads)
        frozen: list[nn.Module] = [part for part in detector if part is not None]
        if self.freeze_norm:
            copies = [self.relation_backbone, *(x.module for x in self.relation_head.detector_copies())]
            trained = [part for part in copies if part is not None]
            frozen += [layer for part in trained for layer in part.modules() if _is_norm(layer)]
        return frozen

    def is_only_counted(self) -> bool:
        """Whether the relation part has nothing but frozen tables that were counted over a training set."""
        counted = set(self.relation_head.counted_parameters())
        trained = any(parameter.requires_grad for parameter in self.parameters())
        return (
            not trained and self.relation_backbone is None and set(self.relation_head.parameters()) <= counted
        )

    def detector(self) -> GeneralizedRCNN:
        """The detector alone, which shares all parameters with this model, for example for its boxes."""
        alone = GeneralizedRCNN(
            backbone=self.backbone,
            proposal_generator=self.proposal_generator,
            roi_heads=self.roi_heads,
            pixel_mean=self.pixel_mean.flatten().tolist(),
            pixel_std=self.pixel_std.flatten().tolist(),
            input_format=self.input_format,
        )
        return cast(GeneralizedRCNN, alone.to(self.device).train(False))

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Computes the losses in training, and calls `inference` in eval mode.

        Args:
            batched_inputs: one dict for each image, from `RelationDatasetMapper`:

                * "image": (C, H, W);
                * "instances" with `gt_boxes` and `gt_classes`: for training, sgcls, prdcls and queries;
                * "relations", for training: (R, 3) long rows (subject, object, predicate) of "instances";
                * "detections", optional: precomputed detections;
                * "queries", optional, for inference: a `Queries` of rows of "instances".

        Returns:
            In training a dict of losses; otherwise the result of `inference`.

        Raises:
            ValueError: a mapper gave something else, see `inputs.py`.
        """
        if not self.training:
            return self.inference(batched_inputs)
        require_relations(batched_inputs)
        self.training_setup.warn_of_gaps(self, batched_inputs)
        images = self.preprocess_image(batched_inputs)
        ground_truth = [x["instances"].to(self.device) for x in batched_inputs]
        relations = [x["relations"].to(self.device) for x in batched_inputs]
        with torch.no_grad():
            start = self._start(images)
            features = self._detector_features(batched_inputs, start)
            if self.entities_from_proposals:
                entities, matched = self._proposal_entities(images, features, ground_truth)
            else:
                detections = self._detections(batched_inputs, images, features)
                entities, matched = training_entities(detections, ground_truth, self.entity_iou_threshold)
        losses: dict[str, Tensor] = self.relation_head.losses(
            features,
            self._relation_features(start),
            entity_batch(entities),
            matched,
            ground_truth,
            relations,
        )
        if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
            self.visualize_training(batched_inputs, entities)
        return losses

    def visualize_training(self, batched_inputs: list[dict[str, Any]], proposals: list[Instances]) -> None:
        """Puts a picture of the first image into the event storage, see `training_picture`.

        Args:
            batched_inputs: see `forward`.
            proposals: the training entities of each image.
        """
        picture = training_picture(self, batched_inputs[0], proposals[0])
        get_event_storage().put_image("Left: annotated relationships; Right: the best found ones", picture)

    @torch.no_grad()
    def inference(
        self,
        batched_inputs: list[dict[str, Any]],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict[str, Any]]:
        """Finds entities and relationships, and answers queries.

        Args:
            batched_inputs: see `forward`.
            detected_instances: for each image the detections to use, with `pred_boxes` (in pixels of the
                network input), `pred_classes` and `scores`, as "detections" of the input. Only in sgdet.
            do_postprocess: whether boxes are in pixels of the original image ("height", "width"), or of the
                network input.

        On a CPU a batch of large images is computed in several passes, see `passes`.

        Returns:
            One dict for each image:

            * "instances": `pred_boxes`, `scores`, `pred_classes`, and `pred_masks` if the detector makes
              masks. In sgcls and prdcls these are the ground truth, row by row. A relation head may have
              changed labels and scores, in sgdet also boxes.
            * "relations": rows by falling score with `subject_index`, `object_index` (rows of "instances"),
              `pred_predicates`, `scores`, `rank_in_pair` and, if the relation head gives them,
              `predicate_scores`, see the relation head.
            * "pair_answers", in sgcls and prdcls, if the input has "queries": for each pair asked about
              `subject_index`, `object_index`, `pair_scores` and `predicate_probs`, see the relation head.
            * "triplet_answers", if the input has "queries": for each triplet asked about `subject_index`,
              `object_index` (rows of the input's "instances"), `pred_predicates`, `scores` and `detected`.
              `detected` is False, and the score 0, if no two entities represent subject and object (see
              `modeling.queries`).
            * "task": the task of the model, text. A trace returns tensors only, so it lacks the task.

        Raises:
            ValueError: a mapper gave something else (see `inputs.py`), detections are given in another task
                than sgdet, or the relation head returns something else than its contract says.
            MemoryError, RuntimeError: the batch does not fit into memory. The message has the sizes of batch
                and chunk.
        """
        assert not self.training
        if detected_instances is not None:
            if self.task != "sgdet":
                raise ValueError(f"detected_instances are for sgdet: in {self.task} the entities are given")
            batched_inputs = [
                {**x, "detections": found}
                for x, found in zip(batched_inputs, detected_instances, strict=True)
            ]
        with fixed_weights():
            parts = passes(batched_inputs, self.device)
            return [result for part in parts for result in self._infer(part, do_postprocess)]

    def _infer(self, batched_inputs: list[dict[str, Any]], do_postprocess: bool) -> list[dict[str, Any]]:
        """Computes the images of one pass, see `inference`."""
        with memory_error_names(len(batched_inputs)):
            images = self.preprocess_image(batched_inputs)
            start = self._start(images)
            features = self._detector_features(batched_inputs, start)
            entities = self._entities(batched_inputs, images, features)
            batch = self._entity_batch(batched_inputs, images, entities)
            batch, entities = self._refine(features, batch, entities)
            queries = self._queries(batched_inputs, entities)
            asked_of_head = self._for_head(queries)
            outputs = self.relation_head.inference(
                features,
                self._relation_features(start),
                batch,
                entities_given=self.task != "sgdet",
                queries=asked_of_head,
            )
        check_results(outputs, self.relation_head, asked_of_head, len(entities))
        results = []
        for found, output, asked in zip(entities, outputs, queries, strict=True):
            answers = {} if asked is None else asked.answers(output)
            results.append({"instances": found, "relations": output["relations"], **answers})
        if do_postprocess:
            results = [
                relation_postprocess(result, x.get("height", size[0]), x.get("width", size[1]))
                for result, x, size in zip(results, batched_inputs, images.image_sizes, strict=True)
            ]
        # Tracing, where sizes are tensors, refuses other outputs. FLOPs are counted so.
        task = {} if isinstance(images.image_sizes[0], Tensor) else {"task": self.task}
        return [{**result, **task} for result in results]

    def _start(self, images: ImageList) -> Tensor | Started:
        """What both backbones go on from: the images, or what their equal first stages make of them."""
        with torch.no_grad():  # these stages are frozen
            return self._shared_start(self.backbone, self.relation_backbone, images.tensor)

    def _detector_features(
        self, batched_inputs: list[dict[str, Any]], start: Tensor | Started
    ) -> dict[str, Tensor]:
        """Feature maps of the detector's backbone; an empty dict if no part needs them."""
        if self.training:
            detects = self.entities_from_proposals or not _have_detections(batched_inputs)
        else:
            detects = self.task == "sgcls" or (self.task == "sgdet" and not _have_detections(batched_inputs))
        if not detects and not self.relation_head.uses_detector_features:
            return {}
        return _maps_of(self.backbone, start)

    def _relation_features(self, start: Tensor | Started) -> dict[str, Tensor] | None:
        return None if self.relation_backbone is None else _maps_of(self.relation_backbone, start)

    def _entities(
        self, batched_inputs: list[dict[str, Any]], images: ImageList, features: dict[str, Tensor]
    ) -> list[Instances]:
        if self.task == "sgdet":
            return self._detections(batched_inputs, images, features)
        require_instances(batched_inputs)
        entities = [given_entities(x["instances"].to(self.device)) for x in batched_inputs]
        return entities if self.task == "prdcls" else self._classify(features, entities)

    def _entity_batch(
        self, batched_inputs: list[dict[str, Any]], images: ImageList, entities: list[Instances]
    ) -> EntityBatch:
        """The entities in the form that the relation head takes, for inference."""
        return entity_batch(entities)

    def _refine(
        self, features: dict[str, Tensor], batch: EntityBatch, entities: list[Instances]
    ) -> tuple[EntityBatch, list[Instances]]:
        """The entities with what the relation head changes."""
        if self.task == "prdcls":
            return batch, entities
        task = cast(Literal["sgdet", "sgcls"], self.task)
        refined = self.relation_head.refine_entities(features, batch, task=task)
        check_refined(refined, batch, self.relation_head, task)
        return refined, refined_entities(entities, refined)

    def _queries(
        self, batched_inputs: list[dict[str, Any]], entities: list[Instances]
    ) -> list[TranslatedQueries | None]:
        """The queries of each image; None for an input without "queries"."""
        translated: list[TranslatedQueries | None] = []
        for x, found in zip(batched_inputs, entities, strict=True):
            if "queries" not in x:
                translated.append(None)
                continue
            asked = x["queries"].to(self.device)
            if self.task == "sgdet":
                require_instances([x])
                truth = x["instances"].to(self.device)
                translated.append(TranslatedQueries.to_detections(asked, truth, found))
            else:
                translated.append(TranslatedQueries.to_given(asked))
        return translated

    def _for_head(self, queries: list[TranslatedQueries | None]) -> list[Queries] | None:
        """The queries for the relation head; None if no image has queries."""
        if all(asked is None for asked in queries):
            return None
        nothing = Queries.nothing().to(self.device)
        return [nothing if asked is None else asked.for_head() for asked in queries]

    def _detections(
        self, batched_inputs: list[dict[str, Any]], images: ImageList, features: dict[str, Tensor]
    ) -> list[Instances]:
        if _have_detections(batched_inputs):
            return [x["detections"].to(self.device) for x in batched_inputs]
        return self._detect(images, features)

    def _detect(self, images: ImageList, features: dict[str, Tensor]) -> list[Instances]:
        if self.proposal_generator is None:
            raise ValueError(
                "this detector has no proposal generator (MODEL.PROPOSAL_GENERATOR.NAME): give precomputed "
                "detections (DATASETS.DETECTION_FILES_TRAIN and _TEST)"
            )
        proposals, _ = self.proposal_generator(images, features, None)
        with _without_masks(self.roi_heads) if self.training else nullcontext():
            detections, _ = self.roi_heads(images, features, proposals, None)
        if self.training:
            return cast(list[Instances], detections)  # `training_entities` takes no empty box
        # An empty box has no finite geometry, so it can't be in a relationship. Boxes are removed here,
        # before pairs refer to rows.
        kept = true_rows_of_each([found.pred_boxes.nonempty() for found in detections])
        entities = [found[rows] for found, rows in zip(detections, kept, strict=True)]
        for found in entities:
            found.scores = at_least_float32(found.scores)
        return entities

    def _classify(self, features: dict[str, Tensor], entities: list[Instances]) -> list[Instances]:
        """Sets the best class at the given boxes, without the background, and its probability (sgcls)."""
        probs = class_probabilities(self.roi_heads, features, entities)
        for found, prob in zip(entities, probs, strict=True):
            found.scores, found.pred_classes = at_least_float32(prob[:, :-1]).max(dim=1)
        return entities

    def _proposal_entities(
        self, images: ImageList, features: dict[str, Tensor], ground_truth: list[Instances]
    ) -> tuple[list[Instances], Tensor]:
        if self.proposal_generator is None:
            raise ValueError(
                "this detector has no proposal generator (MODEL.PROPOSAL_GENERATOR.NAME), so RelDN can't "
                f"train on proposals: set {_METHOD} to 'paper', which trains on detections"
            )
        with _training_limits(self.proposal_generator):
            proposals, _ = self.proposal_generator(images, features, None)
        for truth in ground_truth:
            truth.gt_rows = torch.arange(len(truth), device=self.device)
        sampled = self.roi_heads.label_and_sample_proposals(proposals, ground_truth)
        return sampled_proposals(sampled, ground_truth, self.roi_heads.num_classes)


def _maps_of(backbone: nn.Module, start: Tensor | Started) -> dict[str, Tensor]:
    """Feature maps, which are pooled more than once. So they are converted here."""
    return {name: at_least_float32(x) for name, x in backbone(start).items()}


def _have_detections(batched_inputs: list[dict[str, Any]]) -> bool:
    have = ["detections" in x for x in batched_inputs]
    if any(have) and not all(have):
        raise ValueError(
            f"{sum(have)} of {len(have)} inputs of a batch have 'detections': give them for all images, or "
            "for none"
        )
    return all(have)


def _is_norm(layer: nn.Module) -> bool:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm, LayerNorm)
    return isinstance(layer, kinds)


def _check_sampling(head: RelationHead, entities_from_proposals: bool) -> None:
    """Refuses a sampler of the paper with the entities of the published code, or the other way round."""
    sampler = getattr(head, "sample_pairs", None)
    wanted = PublishedPairSampler if entities_from_proposals else PairSampler
    if isinstance(sampler, PairSampler | PublishedPairSampler) and not isinstance(sampler, wanted):
        raise ValueError(
            f"entities_from_proposals is {entities_from_proposals}, which needs a {wanted.__name__}, but "
            f"{type(head).__name__}.sample_pairs is a {type(sampler).__name__}: choose one of the two "
            f"sampling methods. A config in YAML chooses both by {_METHOD}"
        )


@contextmanager
def _training_limits(generator: Any) -> Iterator[None]:
    """Gives a frozen RPN, which is in eval mode, the numbers of proposals of training.

    A proposal generator of another kind has limits of its own, or none, and keeps them.
    """
    if not isinstance(generator, RPN):
        yield
        return
    before, after = generator.pre_nms_topk, generator.post_nms_topk
    generator.pre_nms_topk, generator.post_nms_topk = ({**x, False: x[True]} for x in (before, after))
    try:
        yield
    finally:
        generator.pre_nms_topk, generator.post_nms_topk = before, after


@contextmanager
def _without_masks(roi_heads: Any) -> Iterator[None]:
    """Switches the detector's masks off, since relation training does not use them."""
    masks = getattr(roi_heads, "mask_on", False)
    roi_heads.mask_on = False
    try:
        yield
    finally:
        roi_heads.mask_on = masks
