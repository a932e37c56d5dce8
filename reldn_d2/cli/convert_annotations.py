"""`reldn convert annotations`: a registered data set as a folder of annotation files."""

from argparse import Namespace

from detectron2.data import MetadataCatalog

from reldn_d2.data import read_image_sizes, without_pictures
from reldn_d2.engine import check_registered
from reldn_d2.evaluation import AnnotatedSet, AnnotationShardWriter, DatasetScorer
from reldn_d2.utils.counted import counted
from reldn_d2.utils.plain_text import say

from .common import FINISHED, prepare
from .saved_predictions import check_sizes_used


def run(args: Namespace) -> int:
    """Writes the annotation files. Returns the exit status."""
    prepare(args)
    (name,) = args.dataset
    check_registered(name)
    given = read_image_sizes(args.image_sizes) if args.image_sizes else {}
    with without_pictures(given) as sizes:
        # It checks the whole annotation, for whatever task and protocol.
        scorer = DatasetScorer(name, "sgdet", ["motifs"], image_labels=args.image_labels)
    check_sizes_used(args.image_sizes, sizes, scorer, [])
    about = AnnotatedSet(name, scorer.vocabulary, MetadataCatalog.get(name).get("evaluation_note", ""))
    with AnnotationShardWriter(args.output, about, shard_size=args.shard_size) as writer:
        for image_id in sorted(scorer.truths):
            writer.add(image_id, scorer.truths[image_id], scorer.sizes[image_id])
    say(f"Annotations of {counted(writer.count, 'image', 'images')} in {args.output}")
    return FINISHED
