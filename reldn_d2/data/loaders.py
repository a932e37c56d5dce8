"""Test loaders that add the queries of an evaluation to the model's inputs."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from detectron2.data import build_detection_test_loader

from reldn_d2.structures import Queries
from reldn_d2.structures.dataset_dicts import DatasetDict, describe

#: Queries by image id as text, or a function that makes them when the first batch is drawn.
QueriesByImage = Mapping[str, Queries] | Callable[[], Mapping[str, Queries]]
Batch = list[dict[str, Any]]


class QueryingLoader:
    """A test loader that adds `"queries"` to every input of another loader.

    If there is no query about any image, the inputs stay as they are.

    Attributes:
        loader: the loader without queries.
    """

    def __init__(self, loader: Any, queries: QueriesByImage) -> None:
        """Add queries to a loader.

        Args:
            loader: loader whose batches are lists of inputs with "image_id".
            queries: queries about each image, see `RelationEvaluator.queries`.
        """
        self.loader = loader
        self._queries = queries

    def with_loader(self, loader: Any) -> "QueryingLoader":
        """The same queries for another loader of the same images."""
        return QueryingLoader(loader, self._queries)

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the inner loader's: its `dataset`, for example."""
        if name == "loader":  # while a copy is made
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the loader, with `"queries"` in every input.

        Raises:
            ValueError: a query names an annotation that the image does not have.
        """
        queries = self._queries() if callable(self._queries) else self._queries
        nothing = Queries.nothing()
        for batch in self.loader:
            yield [_ask(x, queries.get(str(x["image_id"]), nothing)) for x in batch] if queries else batch


def _ask(x: dict[str, Any], queries: Queries) -> dict[str, Any]:
    rows = torch.cat([queries.pairs.flatten(), queries.triplets[:, :2].flatten()])
    if len(rows) and "instances" in x and not 0 <= int(rows.min()) <= int(rows.max()) < len(x["instances"]):
        raise ValueError(
            f"{describe(x)}: a query names annotations {int(rows.min())} to {int(rows.max())}, but the input "
            f"has {len(x['instances'])} instances: take RelationDatasetMapper with is_train=False, and the "
            "queries of an evaluator of the same data set"
        )
    return {**x, "queries": queries}


def with_queries(loader: Any, queries: QueriesByImage) -> QueryingLoader:
    """Make a test loader that asks the given queries. They replace the queries of `loader`, if it has any.

    Args:
        loader: any test loader, for example Detectron2's.
        queries: see `QueryingLoader`.
    """
    return QueryingLoader(loader.loader if isinstance(loader, QueryingLoader) else loader, queries)


def build_relation_test_loader(
    dataset_dicts: list[DatasetDict],
    *,
    mapper: Callable[[DatasetDict], dict[str, Any]],
    queries: QueriesByImage,
    batch_size: int = 1,
    num_workers: int = 0,
) -> QueryingLoader:
    """Build Detectron2's test loader with the queries of an evaluator.

    Args:
        dataset_dicts: the images.
        mapper: function that makes the model's input from a dataset dict, for example
            `RelationDatasetMapper(cfg, is_train=False)`.
        queries: `RelationEvaluator.queries` of the evaluator that will see the outputs.
        batch_size: number of images in a batch on each device.
        num_workers: number of processes that load images; 0 loads them in this process.
    """
    loader = build_detection_test_loader(
        dataset_dicts, mapper=mapper, batch_size=batch_size, num_workers=num_workers
    )
    return with_queries(loader, queries)
