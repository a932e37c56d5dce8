"""`reldn demo`."""

from ..command import Command, Parser
from ..flags import add_output


def _add_arguments(parser: Parser) -> None:
    add_output(parser, "folder for all files (default: output/demo; output/demo_quick with --quick)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few steps of each training: shows that everything works, not what RelDN can do",
    )
    opts = "overrides of the config for all models; the seed is 1 unless they say SEED N"
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help=opts)


COMMAND = Command(
    name="demo",
    summary="train and compare models on drawn scenes, on a CPU",
    description="""
Runs the main job from start to end on the built-in scenes. Trains a detector, then RelDN on its detections
(three models: without pixels, with cross entropy alone, and with the contrastive losses as well), evaluates
all models and writes report.html. A second call keeps what is finished.
""",
    example="reldn demo --output output/demo",
    module="demo",
    add_arguments=_add_arguments,
)
