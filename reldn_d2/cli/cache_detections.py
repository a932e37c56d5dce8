"""`reldn cache-detections`."""

from argparse import Namespace
from pathlib import Path

from detectron2.utils import comm

from reldn_d2.data import detections_made_by
from reldn_d2.engine import (
    cache_detections,
    check_is_detector,
    detector_identity,
    load_model,
    parts_of,
    set_up_process,
)
from reldn_d2.utils.inner_paths import inner_path, refuse_outside_links
from reldn_d2.utils.io import check_writable
from reldn_d2.utils.plain_text import say

from .common import find_weights, launched, load_run_config, prepare


def run(args: Namespace) -> int:
    """Runs the detector over the data sets whose files are missing. Returns the exit status."""
    return launched(make_files, args)


def make_files(args: Namespace) -> None:
    """Makes the missing files, in one of the processes."""
    data = prepare(args)
    weights = find_weights(args.weights) if args.weights else None
    cfg = load_run_config(args, ("weights", "device", "precision"), weights=weights, data=data).cfg
    check_is_detector(cfg)
    set_up_process(parts_of(cfg))
    model = load_model(cfg).requires_grad_(False)  # prepared once, see `accelerate`
    identity, parts = detector_identity(cfg, model), parts_of(cfg)
    place = parts.output_dir if weights and weights.shared else Path(parts.weights).parent
    folder = args.output or Path(place, "detections")
    if args.output is None:  # the folder of weights may come from anybody
        refuse_outside_links(folder.parent, [folder.name], "delete it, or choose a folder (--output FOLDER)")
    check_writable(folder)
    for name in args.dataset or (*parts.train_datasets, *parts.test_datasets):
        path = inner_path(folder, f"{name}.npz", "data set")
        # The first process decides, since another machine may not see the file.
        if not comm.all_gather(detections_made_by(path) == identity)[0]:
            cache_detections(cfg, model, name, path)
        elif comm.is_main_process():
            say(f"{path} is kept: it was made with these weights and this config")
