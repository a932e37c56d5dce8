"""`reldn convert checkpoint`: checkpoints of the paper's authors, and detectors of Detectron.pytorch."""

from argparse import Namespace

from detectron2.config import CfgNode

from reldn_d2.engine.authors_checkpoint import convert_authors_checkpoint
from reldn_d2.utils.plain_text import say

from .common import FINISHED, load_run_config, prepare


def run(args: Namespace) -> int:
    """Converts a checkpoint. Returns the exit status."""
    prepare(args)
    cfg = load_run_config(args).cfg
    if not isinstance(cfg, CfgNode):
        raise ValueError(f"{args.config_file}: converted checkpoints need a config in YAML")
    contents = convert_authors_checkpoint(
        args.input, args.output, cfg, args.config_file, detector=args.detector
    )
    say(f"wrote {args.output}: {contents}")
    return FINISHED
