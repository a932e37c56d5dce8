"""What a worker of a large prediction is told, on whatever machine it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reldn_d2.data.sources import InputReader

from ..parts import Config
from ..resumable_evaluation import WEIGHTS, weights_digest
from ..user_modules import import_data_sets
from .predictor import RelationPredictor
from .shard_worker import ShardOptions, ShardWorker


@dataclass(frozen=True)
class ShardJob:
    """A prediction that is written as shards. It can be pickled.

    Attributes:
        cfg: config with weights, on a disk that all workers see.
        reader: reads the units of the input.
        output: output folder, on such a disk.
        identity: what the results depend on (`evaluation_identity`, and the options).
        options: how graphs and shards are made.
        modules: modules of the user with parts of a model (`--import`).
    """

    cfg: Config
    reader: InputReader
    output: Path
    identity: Mapping[str, str]
    options: ShardOptions
    modules: tuple[str, ...] = ()

    def worker(self) -> ShardWorker:
        """Loads the model.

        Raises:
            ValueError: the weights that this machine finds are not those of the job; or see
                `RelationPredictor`.
            OSError: the weights can't be read.
        """
        for module in self.modules:
            import_data_sets(module)
        predictor = RelationPredictor(self.cfg)
        found = weights_digest(predictor.model)
        if found != self.identity[WEIGHTS]:
            raise ValueError(
                f"{predictor.parts.weights} has other weights here (sha256 {found}) than where the command "
                f"was started ({self.identity[WEIGHTS]}): give weights on a disk that all machines share"
            )
        return ShardWorker(predictor, self.reader, self.output, self.identity, self.options)
