"""RelDN as a Detectron2 meta-architecture: a frozen detector, a predicate backbone and a relation head."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers.batch_norm import LayerNorm
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from reldn_d2.structures import EntityBatch, Queries

from .postprocessing import relation_postprocess
from .queries import TranslatedQueries
from .region_heads import class_probabilities, region_parts
from .relation_head import build_relation_head
from .relation_head.entities import entity_batch, given_entities, sampled_proposals, training_entities
from .start_from_detector import start_from_detector

TASKS = ("sgdet", "sgcls", "prdcls")


@META_ARCH_REGISTRY.register()
class RelDN(GeneralizedRCNN):
    """Relationship detector of "Graphical Contrastive Losses for Scene Graph Parsing" (CVPR 2019).

    The detector (`backbone`, `proposal_generator`, `roi_heads`) is frozen and stays in eval mode. The
    predicate backbone and the three box heads of the relation head are trained; when a checkpoint without
    them is loaded (a detector's), they start as copies of the detector's backbone and box head.
    """

    @configurable
    def __init__(
        self,
        *,
        relation_backbone: Backbone | None,
        relation_head: nn.Module,
        task: str = "sgdet",
        entity_iou_threshold: float = 0.5,
        entities_from_proposals: bool = False,
        freeze_norm: bool = True,
        **detector: Any,
    ) -> None:
        """
        Args:
            relation_backbone: predicate backbone, with the structure of the detector's; None if the head
                pools no predicate features.
            relation_head: see `ROI_RELATION_HEAD_REGISTRY`.
            task: "sgdet", "sgcls" or "prdcls": what inference takes from the ground truth. May be changed
                later.
            entity_iou_threshold: detections of lower IoU with the ground truth are not used in training.
            entities_from_proposals: train on sampled foreground proposals, as the published code, instead of
                on ground truth and detections.
            freeze_norm: freeze the normalisation layers of the predicate backbone and the relation head.
            detector: arguments of GeneralizedRCNN.

        Raises:
            ValueError: an unknown task, or ROI heads that `region_parts` refuses.
        """
        super().__init__(**detector)
        if task not in TASKS:
            raise ValueError(f"unknown task {task!r}: MODEL.ROI_RELATION_HEAD.TEST.TASK is one of {TASKS}")
        region_parts(self.roi_heads)  # raises for ROI heads that RelDN cannot use
        self.relation_backbone = relation_backbone
        self.relation_head: Any = relation_head  # with the methods that its registry describes
        self.task = task
        self.entity_iou_threshold = entity_iou_threshold
        self.entities_from_proposals = entities_from_proposals
        detector_parts = (self.backbone, self.proposal_generator, self.roi_heads)
        self._frozen: list[nn.Module] = [part for part in detector_parts if part is not None]
        if freeze_norm:
            trained = [m for m in (relation_backbone, relation_head) if m is not None]
            self._frozen += [layer for m in trained for layer in m.modules() if _is_norm(layer)]
        for module in self._frozen:
            module.requires_grad_(False)
        self.register_load_state_dict_pre_hook(start_from_detector)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        head = cfg.MODEL.ROI_RELATION_HEAD
        if head.SAMPLING.METHOD not in ("paper", "published"):
            raise ValueError(
                f"MODEL.ROI_RELATION_HEAD.SAMPLING.METHOD is {head.SAMPLING.METHOD!r}: use 'paper' or 'published'"
            )
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
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """
        Args:
            batched_inputs: one dict per image from `RelationDatasetMapper`: "image" (C, H, W); for training,
                SGCLS and PRDCLS "instances" with `gt_boxes` and `gt_classes`; for training "relations",
                (R, 3) long rows (subject, object, predicate) of these instances; optionally "detections"; for
                inference optionally "queries", a `Queries` of rows of "instances", which are then needed in
                SGDET, too.

        Returns:
            In training a dict of losses, else what `inference` returns.
        """
        if not self.training:
            return self.inference(batched_inputs)
        require_keys(batched_inputs, "instances", "relations")
        images = self.preprocess_image(batched_inputs)
        ground_truth = [x["instances"].to(self.device) for x in batched_inputs]
        relations = [x["relations"].to(self.device) for x in batched_inputs]
        with torch.no_grad():
            features = self._detector_features(batched_inputs, images)
            if self.entities_from_proposals:
                entities, matched = self._proposal_entities(images, features, ground_truth)
            else:
                detections = self._detections(batched_inputs, images, features)
                entities, matched = training_entities(detections, ground_truth, self.entity_iou_threshold)
        losses: dict[str, Tensor] = self.relation_head.losses(
            features,
            self._relation_features(images),
            entity_batch(entities),
            matched,
            ground_truth,
            relations,
        )
        return losses

    @torch.no_grad()
    def inference(
        self, batched_inputs: list[dict[str, Any]], *, do_postprocess: bool = True
    ) -> list[dict[str, Instances]]:
        """
        Args:
            batched_inputs: as for `forward`.
            do_postprocess: give boxes in the original image ("height", "width") instead of the network input.

        Returns:
            One dict per image:

            * "instances": `pred_boxes`, `scores`, `pred_classes`, and `pred_masks` if the detector makes
              masks; in SGCLS and PRDCLS row by row the ground truth;
            * "relations": rows by falling score with `subject_index`, `object_index` (rows of "instances"),
              `pred_predicates`, `scores`, `rank_in_pair`, see the relation head;
            * "pair_answers" (in SGCLS and PRDCLS, if the input has "queries"): row by row for the pairs asked
              about `subject_index`, `object_index`, `pair_scores` and `predicate_probs`, see the relation
              head;
            * "triplet_answers" (if the input has "queries"): row by row for the triplets asked about
              `subject_index`, `object_index` (rows of the input's "instances"), `pred_predicates`, `scores`
              and `detected`. `detected` is False, with score 0, where no two entities stand for subject and
              object (see `modeling.queries`).
        """
        assert not self.training
        images = self.preprocess_image(batched_inputs)
        features = self._detector_features(batched_inputs, images)
        entities = self._entities(batched_inputs, images, features)
        queries = self._queries(batched_inputs, entities)
        outputs = self.relation_head.inference(
            features,
            self._relation_features(images),
            self._entity_batch(batched_inputs, images, entities),
            entities_given=self.task != "sgdet",
            queries=self._for_head(queries),
        )
        results = []
        for found, output, asked in zip(entities, outputs, queries, strict=True):
            answers = {} if asked is None else asked.answers(output)
            results.append({"instances": found, "relations": output["relations"], **answers})
        if do_postprocess:
            results = [
                relation_postprocess(result, x.get("height", size[0]), x.get("width", size[1]))
                for result, x, size in zip(results, batched_inputs, images.image_sizes, strict=True)
            ]
        return results

    def _detector_features(
        self, batched_inputs: list[dict[str, Any]], images: ImageList
    ) -> dict[str, Tensor]:
        """Feature maps of the detector's backbone; an empty dict if no part will read them."""
        if self.training:
            detects = self.entities_from_proposals or not _have_detections(batched_inputs)
        else:
            detects = self.task == "sgcls" or (self.task == "sgdet" and not _have_detections(batched_inputs))
        if not detects and not self.relation_head.uses_detector_features:
            return {}
        features: dict[str, Tensor] = self.backbone(images.tensor)
        return features

    def _relation_features(self, images: ImageList) -> dict[str, Tensor] | None:
        if self.relation_backbone is None:
            return None
        features: dict[str, Tensor] = self.relation_backbone(images.tensor)
        return features

    def _entities(
        self, batched_inputs: list[dict[str, Any]], images: ImageList, features: dict[str, Tensor]
    ) -> list[Instances]:
        if self.task == "sgdet":
            return self._detections(batched_inputs, images, features)
        require_keys(batched_inputs, "instances")
        entities = [given_entities(x["instances"].to(self.device)) for x in batched_inputs]
        return entities if self.task == "prdcls" else self._classify(features, entities)

    def _entity_batch(
        self, batched_inputs: list[dict[str, Any]], images: ImageList, entities: list[Instances]
    ) -> EntityBatch:
        """The entities as the relation head takes them in inference."""
        return entity_batch(entities)

    def _queries(
        self, batched_inputs: list[dict[str, Any]], entities: list[Instances]
    ) -> list[TranslatedQueries | None]:
        """The queries of each image; None where the input has no "queries"."""
        translated: list[TranslatedQueries | None] = []
        for x, found in zip(batched_inputs, entities, strict=True):
            if "queries" not in x:
                translated.append(None)
                continue
            asked = x["queries"].to(self.device)
            if self.task == "sgdet":
                require_keys([x], "instances")
                truth = x["instances"].to(self.device)
                translated.append(TranslatedQueries.to_detections(asked, truth, found))
            else:
                translated.append(TranslatedQueries.to_given(asked))
        return translated

    def _for_head(self, queries: list[TranslatedQueries | None]) -> list[Queries] | None:
        """What the relation head is asked; None where nothing is asked about any image."""
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
                "this detector has no proposal generator (MODEL.PROPOSAL_GENERATOR.NAME): give precomputed detections "
                "(DATASETS.DETECTION_FILES_TRAIN and _TEST)"
            )
        proposals, _ = self.proposal_generator(images, features, None)
        with _without_masks(self.roi_heads) if self.training else nullcontext():
            detections, _ = self.roi_heads(images, features, proposals, None)
        # An empty box can be in no relationship and has no finite geometry. Removed before pairs are formed,
        # it shifts no row later.
        return [found[found.pred_boxes.nonempty()] for found in detections]

    def _classify(self, features: dict[str, Tensor], entities: list[Instances]) -> list[Instances]:
        """SGCLS: sets the best class, background excluded, and its probability at the given boxes."""
        probs = class_probabilities(self.roi_heads, features, entities)
        for found, prob in zip(entities, probs, strict=True):
            found.scores, found.pred_classes = prob[:, :-1].max(dim=1)
        return entities

    def _proposal_entities(
        self, images: ImageList, features: dict[str, Tensor], ground_truth: list[Instances]
    ) -> tuple[list[Instances], Tensor]:
        proposals, _ = self.proposal_generator(images, features, None)
        for truth in ground_truth:
            truth.gt_rows = torch.arange(len(truth), device=self.device)
        sampled = self.roi_heads.label_and_sample_proposals(proposals, ground_truth)
        return sampled_proposals(sampled, self.roi_heads.num_classes)


def _have_detections(batched_inputs: list[dict[str, Any]]) -> bool:
    return all("detections" in x for x in batched_inputs)


def require_keys(batched_inputs: list[dict[str, Any]], *keys: str) -> None:
    """
    Raises:
        ValueError: an input without one of the keys.
    """
    for key in keys:
        if any(key not in x for x in batched_inputs):
            raise ValueError(
                f"an input has no {key!r}, which training, the tasks sgcls and prdcls, and queries need: load the data "
                "with RelationDatasetMapper"
            )


def _is_norm(layer: nn.Module) -> bool:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm, LayerNorm)
    return isinstance(layer, kinds)


@contextmanager
def _without_masks(roi_heads: Any) -> Iterator[None]:
    """Relation training does not use masks of the detections."""
    masks = getattr(roi_heads, "mask_on", False)
    roi_heads.mask_on = False
    try:
        yield
    finally:
        roi_heads.mask_on = masks
