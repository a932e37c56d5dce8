#!/usr/bin/env python
r"""Trains and evaluates the model of a config: a detector (stage 1) or RelDN (stage 2).

    python train_net.py --config-file configs/scenes/reldn.yaml \
        MODEL.WEIGHTS output/scenes/detector/model_final.pth
    python train_net.py --config-file ... --eval-only MODEL.WEIGHTS output/scenes/reldn/model_final.pth
    python train_net.py --config-file ... --num-gpus 8 --num-machines 2 --machine-rank 0 \
        --dist-url tcp://HOST:PORT
    torchrun --nproc-per-node 8 train_net.py --config-file ...

The configs of the scenes set the device to the CPU; on GPUs add MODEL.DEVICE cuda. Without a GPU, --num-gpus
is the number of CPU processes. --import my_project.py runs a file of yours first, which registers data sets
or parts of a model. Overrides of a config in Python (configs/lazy) are written key=value:

    python train_net.py --config-file configs/lazy/scenes_reldn.py train.init_checkpoint=... train.device=cuda
"""

import argparse
import sys
from typing import Any

# isort: off
# First, because it keeps harmless warnings of its imports off the screen.
from reldn_d2.engine import Trainer, evaluate, import_data_sets, setup
from reldn_d2.cli.common import exit_status, launched

from detectron2.engine import default_argument_parser

from reldn_cli.flags import DIST_TIMEOUT, positive


def main(args: argparse.Namespace) -> Any:
    """Trains and evaluates, or only evaluates, in one process. Returns the results of the evaluation."""
    for module in getattr(args, "modules", ()):  # Detectron2's own parser has no --import
        import_data_sets(module)
    cfg = setup(args)
    if args.eval_only:
        return evaluate(cfg, resume=args.resume)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    parser = default_argument_parser()
    parser.add_argument("--import", action="append", default=[], dest="modules", metavar="FILE.py")
    parser.add_argument("--allow-unsafe-yaml", action="append", default=[], metavar="FILE.yaml")
    parser.add_argument("--dist-timeout", type=positive, default=DIST_TIMEOUT, metavar="SECONDS")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an expected error")
    args = parser.parse_args()
    sys.exit(exit_status(lambda: launched(main, args), verbose=args.verbose))
