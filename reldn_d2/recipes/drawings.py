"""Drawings of test images: the annotated scene graph beside the predicted one."""

from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from reldn_d2.data.images import read_image
from reldn_d2.engine import RelationPredictor
from reldn_d2.structures.dataset_dicts import DatasetDict, relation_rows
from reldn_d2.utils.inner_paths import short_file_name
from reldn_d2.visualization import (
    draw_scene_graph,
    ground_truth_to_dict,
    side_by_side,
)
from reldn_d2.visualization.images import write_png


def draw_predictions(cfg: CfgNode, dataset_name: str, folder: Path, number: int = 10) -> list[Path]:
    """Draws some images of a data set. As many predictions are drawn as relationships are annotated.

    The images are those at even distances in the data set, images without relationships left out. So the
    choice does not depend on the predictions. Predicted entities have the names of the annotated ones that
    they match.

    Args:
        cfg: config of RelDN with weights.
        dataset_name: a registered data set.
        folder: folder to write to.
        number: number of images.

    Returns:
        The files.
    """
    predictor = RelationPredictor(cfg)
    classes = (predictor.thing_classes, predictor.predicate_classes)
    paths = []
    for row, image in enumerate(_evenly(DatasetCatalog.get(dataset_name), number), start=1):
        bgr = read_image(image["file_name"], "BGR")
        rgb = np.ascontiguousarray(bgr[..., ::-1])
        truth = ground_truth_to_dict(image, *classes)
        shown = len({(x["subject"], x["object"], x["predicate"]) for x in truth["relationships"]})
        found = predictor(bgr).to_dict(top_k=min(shown, 100))
        drawn = [
            draw_scene_graph(rgb, truth, top_n=shown),
            draw_scene_graph(rgb, found, top_n=shown, beside=truth),
        ]
        name = short_file_name(f"{row:02d}_{Path(image['file_name']).stem}")
        paths.append(folder / f"{name}.png")
        write_png(side_by_side(drawn, ["annotated", "predicted"]), paths[-1])
    return paths


def _evenly(images: list[DatasetDict], number: int) -> list[DatasetDict]:
    related = [image for image in images if len(relation_rows(image))]
    places = np.linspace(0, len(related) - 1, min(number, len(related))).round().astype(int)
    return [related[place] for place in places]
