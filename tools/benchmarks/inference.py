"""sgdet of photos end to end: accelerated and in batches, and as Detectron2 builds the model, one by one.

The model is that of `sgdet_model` with R-50-FPN. Its detector runs, and then the detections of the committed
file take the place of its own. All photos have one size. If a batch holds more than four, they repeat.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import Tensor

from tests.builders.tiny_models import calm_down

from .sgdet import same_relations
from .sgdet_model import WithDetections, build, give_pixels_a_say, photos, r50_config, resized
from .timing import Row, Skipped, Timer, assert_relative
from .ways import ACCELERATED, ACCELERATED_BF16, AS_BUILT, Way

BATCHES = (1, 4, 8)
_SIZE = (600, 800)  # height and width of a photo
_ROUNDING = 1e-4
_BEST_BOXES = 20
_BF16_RECALL = 0.5  # of the 100 best triplets; a wrong feature map leaves hardly any


def rows(timer: Timer) -> Iterator[Row | Skipped]:
    """Measures the detector alone and batches of several sizes, in float32 and in bfloat16."""
    old_detector = Detector(AS_BUILT, timer.device)
    for way, tolerance in ((ACCELERATED, _ROUNDING), (ACCELERATED_BF16, 0.1)):
        yield timer.measure(
            f"R-50-FPN detector, a photo of {_SIZE[0]} × {_SIZE[1]}, {way}",
            Detector(way, timer.device),
            slow=old_detector,
            slow_name=str(AS_BUILT),
            same=partial(_same_detections, tolerance=tolerance),
            precision=way.precision,
        )
    del old_detector
    old_model = photo_model(AS_BUILT, timer.device)
    for way in (ACCELERATED, ACCELERATED_BF16):
        model = photo_model(way, timer.device)
        for batch in BATCHES if timer.slow_rows else BATCHES[:-1]:
            yield timer.measure(
                f"R-50-FPN sgdet, batch of {batch}, {way}",
                Predict(model, way, photos_of_one_size(batch), batch),
                slow=Predict(old_model, AS_BUILT, photos_of_one_size(batch), 1),
                slow_name=f"{AS_BUILT}, one by one",
                same=same_answers if way.precision == "fp32" else similar_answers,
                precision=way.precision,
            )


def photo_model(way: Way, device: str) -> WithDetections:
    """The model, in which pixels have a say, prepared for a way."""
    model = build(r50_config(), device)
    found = photos_of_one_size(1)
    model.replacements = found
    give_pixels_a_say(model, photo_inputs(found))
    model.requires_grad_(False)  # as the predictor does
    return way.prepare(model)


def photos_of_one_size(count: int, size: tuple[int, int] = _SIZE) -> list[Instances]:
    """The detections of photos, in pixels of the network input."""
    found = [resized(x, size) for x in photos(min(size))]
    return [found[i % len(found)] for i in range(count)]


def photo_inputs(found: list[Instances]) -> list[dict[str, Any]]:
    """Pictures of noise, for which the detections are used."""
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.randint(256, (3, *x.image_size), dtype=torch.uint8, generator=generator),
            "height": x.image_size[0],
            "width": x.image_size[1],
        }
        for x in found
    ]


class Predict:
    """Predicts photos in batches."""

    def __init__(self, model: WithDetections, way: Way, detections: list[Instances], batch_size: int) -> None:
        """Makes the pictures.

        Args:
            model: model that was prepared for the way.
            way: how the model runs.
            detections: detections of each photo, in pixels of the network input.
            batch_size: number of photos that the model is given at a time.
        """
        self.model, self.way, self.detections, self.batch_size = model, way, detections, batch_size
        self.inputs = photo_inputs(detections)

    @torch.no_grad()
    def __call__(self) -> list[Instances]:
        """The ranked relationships of each photo."""
        found: list[Instances] = []
        for start in range(0, len(self.inputs), self.batch_size):
            batch = slice(start, start + self.batch_size)
            self.model.replacements = self.detections[batch]
            with self.way.autocast(self.model.device.type):
                outputs = self.model.inference(self.inputs[batch])
            found += [output["relations"] for output in outputs]
        return found


class Detector:
    """The detector alone, with random weights and one photo."""

    def __init__(self, way: Way, device: str, size: tuple[int, int] = _SIZE) -> None:
        """Builds the model.

        Args:
            way: how the model runs.
            device: "cpu" or "cuda".
            size: height and width of the photo.
        """
        cfg = r50_config()
        cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "GeneralizedRCNN", device, ""
        torch.manual_seed(0)
        model: Any = build_model(cfg).eval()
        calm_down(model)
        self.way, self.device, self.model = way, device, way.prepare(model).requires_grad_(False)
        self.inputs = photo_inputs([Instances(size)])

    @torch.no_grad()
    def __call__(self) -> list[Tensor]:
        """Detects in the photo. Returns the feature maps, and the scores of the best boxes."""
        maps: dict[str, Tensor] = {}
        hook = self.model.backbone.register_forward_hook(lambda *x: maps.update(x[2]))
        with self.way.autocast(self.device):
            (found,) = self.model.inference(self.inputs, do_postprocess=False)
        hook.remove()
        return [*maps.values(), found.scores[:_BEST_BOXES]]


def same_answers(ours: list[Instances], theirs: list[Instances]) -> None:
    """Compares the lists of all photos, see `same_relations`."""
    for x, y in zip(ours, theirs, strict=True):
        same_relations(x, y)


def similar_answers(ours: list[Instances], theirs: list[Instances]) -> float:
    """Compares lists whose scores have other roundings. Returns the recall, see `recall_of_best`."""
    recall = recall_of_best(ours, theirs)
    assert recall >= _BF16_RECALL, f"only {recall:.0%} of the best triplets are the same"
    return recall


def recall_of_best(ours: list[Instances], theirs: list[Instances], count: int = 100) -> float:
    """Which share of their best triplets are among our best ones, on average over photos."""
    shares = []
    for x, y in zip(ours, theirs, strict=True):
        best, wanted = _best(x, count), _best(y, count)
        shares.append(len(best & wanted) / len(wanted))
    return sum(shares) / len(shares)


def _best(relations: Instances, count: int) -> set[tuple[int, ...]]:
    columns = (relations.subject_index, relations.object_index, relations.pred_predicates)
    return set(zip(*(column[:count].tolist() for column in columns), strict=True))


def _same_detections(ours: list[Tensor], theirs: list[Tensor], *, tolerance: float) -> None:
    assert_relative(ours, theirs, tolerance)
