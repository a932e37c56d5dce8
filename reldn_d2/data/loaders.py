"""Test loaders whose batches carry what an evaluation asks the model."""

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

    Where nothing is asked about any image, the inputs stay as they are.

    Attributes:
        loader: the loader without queries.
    """

    def __init__(self, loader: Any, queries: QueriesByImage) -> None:
        """
        Args:
            loader: gives batches, lists of inputs with "image_id".
            queries: what is asked about each image, see `RelationEvaluator.queries`.
        """
        self.loader = loader
        self._queries = queries

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        """
        Raises:
            ValueError: a query about an annotation that the image does not have.
        """
        queries = self._queries() if callable(self._queries) else self._queries
        nothing = Queries.nothing()
        for batch in self.loader:
            yield [_asked(x, queries.get(str(x["image_id"]), nothing)) for x in batch] if queries else batch


def _asked(x: dict[str, Any], queries: Queries) -> dict[str, Any]:
    rows = torch.cat([queries.pairs.flatten(), queries.triplets[:, :2].flatten()])
    if len(rows) and "instances" in x and not 0 <= int(rows.min()) <= int(rows.max()) < len(x["instances"]):
        raise ValueError(
            f"{describe(x)}: a query names annotations {int(rows.min())} to {int(rows.max())}, but the input has "
            f"{len(x['instances'])} instances: take RelationDatasetMapper with is_train=False, and the queries of an "
            "evaluator of the same data set"
        )
    return {**x, "queries": queries}


def with_queries(loader: Any, queries: QueriesByImage) -> QueryingLoader:
    """A test loader that asks these queries, and no others that `loader` may ask already.

    Args:
        loader: any test loader, such as Detectron2's.
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
    """Detectron2's test loader, joined to an evaluator.

    Args:
        dataset_dicts: the images.
        mapper: makes the model's input of a dataset dict: `RelationDatasetMapper(cfg, is_train=False)`.
        queries: `RelationEvaluator.queries` of the evaluator that will see the outputs.
        batch_size: images of a batch, on each device.
        num_workers: processes that load images; 0 loads them in this process.
    """
    loader = build_detection_test_loader(
        dataset_dicts, mapper=mapper, batch_size=batch_size, num_workers=num_workers
    )
    return with_queries(loader, queries)
