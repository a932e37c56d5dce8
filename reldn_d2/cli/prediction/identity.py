"""What results depend on: the weights and options of a run, and the picture that a model brings with it."""

from argparse import Namespace

from torch import nn

from reldn_d2.engine import RunParts
from reldn_d2.engine.resumable_evaluation import evaluation_identity
from reldn_d2.model_zoo import zoo_entry, zoo_names
from reldn_d2.utils.plain_text import say, visible

from .boxes import BoxesFile


def sample_of(weights: str) -> list[str]:
    """The picture that a model of this package brings with it.

    Raises:
        ValueError: the weights are not a name of this package's model zoo, or the model has no picture.
    """
    name = weights.partition("?")[0]
    sample = zoo_entry(name).sample if name in zoo_names() else None
    if sample is None:
        raise ValueError(f"--weights {weights} brings no picture with it: name images or folders as --input")
    say(f"--input is not given: the picture is {visible(str(sample))}")
    return [str(sample)]


def result_identity(
    parts: RunParts, model: nn.Module, args: Namespace, boxes: BoxesFile | None = None
) -> dict[str, str]:
    """What the results depend on besides the images."""
    options = ("top_k", "predicates_per_pair", "score_threshold", "entity_threshold", "drop_unknown_classes")
    return {
        **evaluation_identity(parts, model),
        "--boxes (sha256)": "none" if boxes is None else boxes.digest,
        "--format": " ".join(sorted(set(args.format))),
        # Padded images depend on their neighbours.
        "--pad": f"to --batch-size {args.batch_size}" if args.pad else "no",
        **{f"--{name.replace('_', '-')}": f"{getattr(args, name)}" for name in options},
    }
