"""VIS_PERIOD: pictures of the training, which goes on as without them."""

import random

import numpy as np
import pytest
import torch
from detectron2.utils.events import EventStorage

from reldn_d2.modeling import RelDN
from tests.builders.tiny_models import TinyConfig, make_input, make_model

INPUTS = [make_input(4, [(0, 1, 0), (2, 3, 5)]), make_input(3, [], seed=1)]


def losses(model: RelDN, steps: int) -> tuple[list[dict[str, float]], list[tuple[int, np.ndarray]]]:
    """Losses and pictures of some steps; the inputs change places after each."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    found, pictures = [], []
    with EventStorage() as storage:
        for i in range(steps):
            batch = INPUTS if i % 2 == 0 else INPUTS[::-1]
            found.append({name: x.item() for name, x in model(batch).items()})
            pictures += [(i, picture) for _, picture, _ in storage._vis_data]
            storage.clear_images()
            storage.step()
    return found, pictures


@pytest.mark.parametrize("freeze_norm", ["True", "False"])
@pytest.mark.parametrize("method", ["paper", "published"])
def test_the_training_goes_on_as_without_pictures(
    tiny_config: TinyConfig, freeze_norm: str, method: str
) -> None:
    head = "MODEL.ROI_RELATION_HEAD"
    options = [f"{head}.FREEZE_NORM", freeze_norm, f"{head}.SAMPLING.METHOD", method]
    options += [f"{head}.VISUAL.DROPOUT", "0.5", f"{head}.TEST.TASK", "prdcls"]
    runs = []
    for period in ("0", "2"):
        model = make_model(tiny_config(*options, "VIS_PERIOD", period)).train()
        unusual = model.relation_head.pair_classifier
        unusual.eval()  # a mode that someone chose
        modes = [module.training for module in model.modules()]
        runs.append((*losses(model, 4), random.random(), np.random.rand(), torch.rand(1), model))
        assert modes == [module.training for module in model.modules()]
        assert model.task == "prdcls"
    (plain, none, *numbers, first), (pictured, some, *same_numbers, second) = runs
    assert plain == pictured and numbers == same_numbers
    assert none == [] and [i for i, _ in some] == [0, 2]
    for name, value in first.state_dict().items():
        assert value.equal(second.state_dict()[name]), name


def test_a_picture_shows_the_image_twice(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config("VIS_PERIOD", "1")).train()
    _, ((_, related), (_, empty)) = losses(model, 2)
    for picture, x in ((related, INPUTS[0]), (empty, INPUTS[1])):
        assert picture.shape == (3, 96, 192) and picture.dtype == np.uint8
        image = x["image"].numpy()[::-1]  # BGR
        halves = picture[:, :, :96], picture[:, :, 96:]
        # Boxes cover a part of the image; the rest stays as it is, up to rounding.
        for half in halves:
            assert (abs(half.astype(int) - image) <= 1).mean() > 0.2
        differs = [(abs(half.astype(int) - image) > 1).any() for half in halves]
        assert differs == [len(x["relations"]) > 0, True]


def test_a_model_of_one_entity_has_a_picture(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config("VIS_PERIOD", "1", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.0")).train()
    with EventStorage() as storage:
        model([make_input(1, [])])
        assert len(storage._vis_data) == 1
