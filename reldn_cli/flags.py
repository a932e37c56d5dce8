"""The options that several commands share."""

from argparse import ArgumentTypeError, Namespace
from pathlib import Path

from .command import Parser

_FREE_PORT = "auto"
#: Seconds that processes wait for each other, as in Detectron2.
DIST_TIMEOUT = 1800
#: The same as `reldn_d2.modeling.acceleration.PRECISIONS`, which is not imported here.
PRECISIONS = ("fp32", "bf16")


def add_imports(parser: Parser) -> None:
    """--import: modules that register data sets and parts of a model."""
    parser.add_argument(
        "--import",
        action="append",
        default=[],
        dest="modules",
        metavar="FILE.py",
        help="file or module of your own that registers data sets or parts of a model; may be repeated",
    )


def add_data(parser: Parser) -> None:
    """--data and --import: data of the user."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE.yaml",
        help="your own data: a file that names the splits (datasets/README.md)",
    )
    add_imports(parser)


def add_config(parser: Parser, *, required: bool = False, default: str = "") -> None:
    """--config-file and the overrides at the end.

    Args:
        parser: parser of the command.
        required: whether the command needs a config file.
        default: text that says what is used without it.
    """
    text = "config in YAML or Python: a file, or a name such as vrd/reldn_vgg16.yaml; a Python file is run"
    parser.add_argument(
        "--config-file",
        required=required,
        metavar="FILE",
        help=text + (f" (default: {default})" if default else ""),
    )
    parser.add_argument(
        "--allow-unsafe-yaml",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file of yours whose tags may run code, such as the config or its _BASE_; may be repeated",
    )
    parser.add_argument(
        "opts",
        nargs="*",
        metavar="KEY VALUE",
        help="overrides of the config; for a config in Python they are written key=value",
    )


def add_weights(parser: Parser, text: str, *, required: bool = False) -> None:
    """--weights: a checkpoint.

    Args:
        parser: parser of the command.
        text: what the checkpoint is for.
        required: whether the command needs it.
    """
    parser.add_argument(
        "--weights",
        required=required,
        metavar="FILE|FOLDER|NAME",
        help=f"{text}: a file, the folder of a training or of a saved model, a name of the model zoo, a hub "
        "id (owner/name), or a config's name in Detectron2's model zoo",
    )
    parser.add_argument(
        "--sha256",
        metavar="DIGEST",
        help="digest that the weights must have; for a saved model that of its file SHA256SUMS",
    )
    parser.add_argument(
        "--trust", action="store_true", help="take weights of the model zoo whose digest is not known"
    )


def join_weights(parser: Parser, args: Namespace) -> None:
    """Adds --sha256 and --trust to --weights, as the options that follow its question mark."""
    given = {"sha256": getattr(args, "sha256", None), "trust": getattr(args, "trust", False) or None}
    options = "&".join(f"{name}={value}" for name, value in given.items() if value is not None)
    if not options:
        return
    if not args.weights:
        parser.error("--sha256 and --trust say something about --weights: give --weights, too")
    args.weights += ("&" if "?" in args.weights else "?") + options


def add_output(parser: Parser, text: str, default: Path | None = None) -> None:
    """--output: where results are written.

    Args:
        parser: parser of the command.
        text: what is written there.
        default: the folder if the option is not given.
    """
    shown = "" if default is None else " (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=default, metavar="PATH", help=text + shown)


def add_device(parser: Parser) -> None:
    """--device: where the model runs."""
    parser.add_argument(
        "--device", metavar="DEVICE", help="cpu, cuda or cuda:N (default: that of the config)"
    )


def add_precision(parser: Parser) -> None:
    """--precision: of matrix products and convolutions."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="fp32, or bf16: faster where the device has instructions for it, with 8 significant bits "
        "(default: that of the config)",
    )


def add_launch(parser: Parser) -> None:
    """Detectron2's options for several processes and machines."""
    add = parser.add_argument
    add(
        "--num-gpus",
        type=positive,
        default=1,
        metavar="N",
        help="GPUs of each machine; without GPUs, CPU processes (default: %(default)s)",
    )
    add(
        "--num-machines",
        type=positive,
        default=1,
        metavar="N",
        help="number of machines (default: %(default)s)",
    )
    add(
        "--machine-rank",
        type=int,
        default=0,
        metavar="N",
        help="number of this machine, from 0 on (default: %(default)s)",
    )
    add(
        "--dist-url",
        default=_FREE_PORT,
        metavar="URL",
        help="address of the first machine, tcp://HOST:PORT (default: a free port of this machine)",
    )
    add(
        "--dist-timeout",
        type=positive,
        default=DIST_TIMEOUT,
        metavar="SECONDS",
        help="how long processes wait for each other, at the start and later (default: %(default)s)",
    )


def check_launch(parser: Parser, args: Namespace) -> None:
    """Refuses options of `add_launch` that do not fit each other."""
    if args.num_machines > 1 and args.dist_url == _FREE_PORT:
        parser.error("--num-machines needs the address of the first machine: give --dist-url tcp://HOST:PORT")
    if not 0 <= args.machine_rank < args.num_machines:
        parser.error(
            f"--machine-rank {args.machine_rank} is not from 0 to {args.num_machines - 1}, the last of "
            "--num-machines"
        )


def positive(text: str) -> int:
    """An integer of at least 1, for `type=`."""
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"{text} is not at least 1")
    return value


def share(text: str) -> float:
    """A number from 0 to 1, for `type=`."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def above_zero(text: str) -> float:
    """A number above 0, for `type=`."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text} is not above 0")
    return value


def bounds(text: str) -> tuple[int, int]:
    """Two integers of at least 1 as MIN:MAX, or one that stands for both, for `type=`."""
    low, _, high = text.partition(":")
    found = positive(low), positive(high or low)
    if found[0] > found[1]:
        raise ArgumentTypeError(f"{text} begins with the larger number")
    return found


def add_image_files(parser: Parser) -> None:
    """Adds --image-labels and --image-sizes, which say what an annotation may lack."""
    parser.add_argument(
        "--image-labels", type=Path, metavar="FILE.csv", help="verified image labels, for protocol openimages"
    )
    parser.add_argument(
        "--image-sizes",
        type=Path,
        metavar="FILE.csv",
        help="image_id,width,height of the images in pixels, where the annotation does not say them and the "
        "pictures are not there",
    )
