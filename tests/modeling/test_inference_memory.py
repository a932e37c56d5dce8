"""Memory of inference is bounded by the chunk, not by the number of pairs."""

import weakref
from typing import Any

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reldn_d2.modeling.relation_head import entity_batch
from tests.builders.tiny_models import TinyConfig, make_model

# Kept for each ordered pair: its two entities, its bound, its place in the order, and copies of these while
# sorting.
BYTES_A_PAIR = 32


class PeakMemory(TorchDispatchMode):
    """The largest number of bytes in tensors that were made inside of it and live at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return output

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        self._seen.add(key)
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._remove, key, storage.nbytes())

    def _remove(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.alive -= size


@pytest.mark.parametrize("every_pair", [True, False])
def test_memory_does_not_grow_with_pairs(tiny_config: TinyConfig, every_pair: bool) -> None:
    peaks = {}
    for count in (20, 60):
        cfg = tiny_config("MODEL.ROI_RELATION_HEAD.TEST.CHUNK_SIZE", "8")
        model = make_model(cfg).eval()
        torch.manual_seed(0)
        corner = torch.rand(count, 2) * 60
        found = Instances(
            (96, 96),
            pred_boxes=Boxes(torch.cat([corner, corner + 10 + torch.rand(count, 2) * 20], dim=1)),
            pred_classes=torch.randint(6, (count,)),
            scores=torch.ones(count) if every_pair else torch.rand(count),
        )
        with torch.no_grad():
            maps = model.backbone(torch.rand(1, 3, 96, 96))
            with PeakMemory() as memory:
                model.relation_head.inference(maps, maps, entity_batch([found]), entities_given=False)
        peaks[count] = memory.peak
    more_pairs = 60 * 59 - 20 * 19
    more_entities = 40 * 16 * 7 * 7 * 4  # regions of 16 channels
    assert peaks[60] - peaks[20] < BYTES_A_PAIR * more_pairs + more_entities
