"""shards: a row for each image with its graph, as a folder of Parquet files that workers write."""

from reldn_d2.engine.prediction.shard_worker import ATTEMPTS
from reldn_d2.engine.prediction.shard_worker import SHARDS as FOLDER
from reldn_d2.scene_graphs.formats.shards import ShardFile
from reldn_d2.utils.shards import ShardFolder

from .writer import Output

#: Name of the format.
SHARDS = "shards"


class ShardParts(Output):
    """The folder of the shards, and the attempts at those that are not finished."""

    shared = FOLDER

    def delete(self) -> None:
        """Removes the shards and the attempts, and the folders if nothing else is in them."""
        ShardFolder(self.folder / FOLDER, ShardFile()).delete()
        self.delete_attempts()

    def delete_attempts(self) -> None:
        """Removes what says how often chunks were begun, and the folder if nothing else is in it."""
        attempts = self.folder / ATTEMPTS
        for path in attempts.glob("*-*.json"):  # of shards, and of starts
            path.unlink(missing_ok=True)
        if attempts.is_dir() and not any(attempts.iterdir()):
            attempts.rmdir()
