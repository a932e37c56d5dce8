"""The config of this project: Detectron2's keys, RelDN's keys, and a node of its own."""

from pathlib import Path

from detectron2.config import CfgNode, get_cfg

from reldn_d2 import add_reldn_config

CONFIGS = Path(__file__).parent / "configs"


def load_config(file: str, output: Path, steps: int | None) -> CfgNode:
    """Reads the config of one stage.

    Args:
        file: its name in the folder `configs`.
        output: folder for checkpoints and logs.
        steps: number of training steps; None: that of the file.
    """
    cfg = get_cfg()
    add_reldn_config(cfg)
    cfg.SHAPES = CfgNode()
    cfg.SHAPES.BRIGHTNESS = 0.0  # training images are made darker or lighter by up to this share
    cfg.merge_from_file(str(CONFIGS / file))
    cfg.OUTPUT_DIR = str(output)
    if steps is not None:
        cfg.SOLVER.MAX_ITER = steps
    return cfg
