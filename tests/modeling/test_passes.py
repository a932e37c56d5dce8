"""A batch of large images on a CPU is computed in parts, with the answers of the parts."""

import pytest
import torch

from reldn_d2.modeling.passes import passes
from tests.builders.tiny_models import TinyConfig, make_input, make_model

CPU = torch.device("cpu")


def image(height: int, width: int) -> dict[str, torch.Tensor]:
    # All pixels are one number, which takes no memory.
    return {"image": torch.zeros(1).expand(3, height, width)}


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ([], [0]),
        ([(600, 800)] * 3, [1, 1, 1]),
        ([(192, 256)] * 23, [10, 10, 3]),  # 49,152 pixels each
        ([(4000, 6000)], [1]),
        ([(4000, 6000), (64, 64), (64, 64)], [1, 2]),
        # Padded to 800 x 600, two of them exceed the limit.
        ([(800, 20), (20, 600), (20, 20)], [1, 2]),
        ([(20, 20), (600, 400), (400, 600)], [2, 1]),
    ],
)
def test_passes_keep_the_order_and_the_limit(sizes: list[tuple[int, int]], lengths: list[int]) -> None:
    batch = [image(*size) for size in sizes]
    parts = list(passes(batch, CPU))
    assert [len(part) for part in parts] == lengths
    assert [id(x) for part in parts for x in part] == [id(x) for x in batch]
    for part in parts:
        if len(part) > 1:
            height, width = (max(x["image"].shape[axis] for x in part) for axis in (1, 2))
            assert len(part) * height * width <= 2**19


def test_a_gpu_gets_the_whole_batch() -> None:
    batch = [image(4000, 6000), image(4000, 6000)]
    assert list(passes(batch, torch.device("cuda"))) == [batch]


@pytest.mark.parametrize("task", ["sgdet", "prdcls"])
def test_parts_answer_as_single_images(
    tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    model = make_model(tiny_config()).eval()
    model.task = task
    batch = [make_input(4, [], seed=seed, size=size) for seed, size in enumerate((96, 96, 64, 128, 64))]
    if task == "sgdet":
        for x in batch:
            x["detections"] = x["instances"]
            x["detections"].pred_boxes = x["instances"].gt_boxes
            x["detections"].pred_classes = x["instances"].gt_classes
            x["detections"].scores = torch.linspace(0.9, 0.3, 4)
    sizes = []
    assert model.relation_backbone is not None
    model.relation_backbone.register_forward_pre_hook(lambda _, x: sizes.append(len(x[0])))
    alone = [model([x])[0] for x in batch]
    assert sizes == [1] * 5
    sizes.clear()
    monkeypatch.setattr("reldn_d2.modeling.passes._PIXELS_OF_A_PASS", 2 * 96 * 96)
    together = model(batch)
    assert sizes == [2, 1, 1, 1]
    for x, y in zip(together[2:], alone[2:], strict=True):  # those that had a pass of their own
        for name, value in x["relations"].get_fields().items():
            assert torch.equal(value, y["relations"].get(name)), name
    for x, y in zip(together[:2], alone[:2], strict=True):
        torch.testing.assert_close(x["relations"].scores, y["relations"].scores)
