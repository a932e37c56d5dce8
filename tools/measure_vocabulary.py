#!/usr/bin/env python
"""Measures the memory of a training of the scenes' RelDN with other numbers of classes and predicates.

    python tools/measure_vocabulary.py 150x50 1000x100 1703x311

Each vocabulary has a process of its own, whose highest memory is shown, all libraries included: when the
model is built and its semantic table counted, and after some training steps and the checkpoint. The pictures
are those of the tiny scenes. Every copy of one has new random classes and predicates, so that few
relationships are between the same classes: the semantic table is about as large as their number allows.
"""

import argparse
import multiprocessing
import resource
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from tabulate import tabulate

from reldn_d2.engine import Trainer, load_config
from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.predicate_counts import table_bytes

_NAME, _SCENES = "measured_vocabulary", "reldn_scenes_tiny_train"


@dataclass(frozen=True)
class Memory:
    """Memory of a training in MB (1e6 bytes).

    Attributes:
        table: the semantic table as it is held.
        built: highest memory of the process until the model is built.
        trained: highest memory of the process until the training has ended.
    """

    table: float
    built: float
    trained: float


def main() -> None:
    """Measures each vocabulary, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("vocabulary", nargs="+", help="CLASSESxPREDICATES")
    parser.add_argument("--images", type=int, default=16, help="number of images (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="training steps (default: %(default)s)")
    args = parser.parse_args()
    rows = []
    for vocabulary in args.vocabulary:
        classes, predicates = map(int, vocabulary.split("x"))
        # A process that has measured one vocabulary would keep its high-water mark.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(measure, classes, predicates, args.images, args.steps).result()
        dense = table_bytes(classes, predicates) / 1e6
        rows.append((f"{classes} x {predicates}", dense, found.table, found.built, found.trained))
    header = ["classes x predicates", "dense table, MB", "table, MB", "built, MB", "trained, MB"]
    print(tabulate(rows, header, "pipe", floatfmt=",.0f"))


def measure(classes: int, predicates: int, images: int, steps: int) -> Memory:
    """Trains in this process.

    Args:
        classes, predicates: sizes of the vocabulary.
        images: number of training images.
        steps: number of training steps.
    """
    DatasetCatalog.register(_NAME, lambda: relabelled(classes, predicates, images))
    MetadataCatalog.get(_NAME).set(
        thing_classes=[f"class {i}" for i in range(classes)],
        predicate_classes=[f"predicate {i}" for i in range(predicates)],
    )
    with tempfile.TemporaryDirectory() as folder:
        options: list[Any] = [
            *("OUTPUT_DIR", folder, "MODEL.WEIGHTS", "", "SOLVER.MAX_ITER", steps, "SOLVER.STEPS", ()),
            *("SOLVER.WARMUP_ITERS", 0, "SOLVER.BASE_LR", 0.0),  # random weights would diverge
            *("DATASETS.TRAIN", (_NAME,), "DATASETS.TEST", (), "DATALOADER.NUM_WORKERS", 0),
            *("MODEL.ROI_HEADS.NUM_CLASSES", classes, "MODEL.ROI_RELATION_HEAD.NUM_PREDICATES", predicates),
        ]
        trainer = Trainer(load_config("scenes/reldn.yaml", options))
        built = _peak()
        trainer.train()
    semantic = trainer.model.relation_head.pair_classifier.semantic
    return Memory(sum(x.nbytes for x in semantic.tensors()) / 1e6, built, _peak())


def relabelled(classes: int, predicates: int, images: int) -> list[dict[str, Any]]:
    """Images of the tiny scenes, over and over, with random classes and predicates."""
    rng = np.random.default_rng(0)
    scenes = DatasetCatalog.get(_SCENES)
    found = []
    for i in range(images):
        scene = scenes[i % len(scenes)]
        relations = np.array(scene["relations"])
        relations[:, 2] = rng.integers(predicates, size=len(relations))
        boxes = np.array([entity["bbox"] for entity in scene["annotations"]])
        labels = Annotations(boxes, rng.integers(classes, size=len(boxes)))
        found.append({**scene, "image_id": i, "annotations": labels, "relations": relations})
    return found


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
