"""RoIAlign as products of sparse matrices, beside its definition and beside torchvision's."""

import copy
import pickle
from collections.abc import Sequence

import pytest
import torch
from detectron2.layers import ROIAlignRotated
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reldn_d2.modeling.acceleration import RegionPooler, accelerate, pooler, roi_align
from reldn_d2.modeling.acceleration.roi_align import sparse_is_faster, sparse_roi_align
from tests.references.roi_align import slow_roi_align

pytestmark = pytest.mark.skipif(
    not roi_align.HAS_SPARSE_PRODUCT, reason="this build of PyTorch multiplies no sparse matrices on CPUs"
)

SCALES = (1 / 4, 1 / 8, 1 / 16)
EVERY_WAY = pytest.mark.parametrize(
    ("kind", "sampling_ratio"),
    [(kind, ratio) for kind in ("ROIAlign", "ROIAlignV2") for ratio in (0, 1, 2, 3)],
)


def make_maps(scales: Sequence[float] = SCALES, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Maps of two images of 128 x 160 pixels, with 5 channels."""
    torch.manual_seed(0)
    return [torch.randn(2, 5, int(128 * s), int(160 * s), dtype=dtype) for s in scales]


def make_boxes(seed: int = 0) -> list[Boxes]:
    """Boxes of each image: inside, over the border, outside, empty, and the whole image."""
    torch.manual_seed(seed)
    special = [[0.0, 0, 160, 128], [-30, -20, 200, 150], [20, 30, 20, 30], [300, 300, 400, 400], [9, 9, 3, 3]]
    corner = torch.rand(12, 2) * 120 - 10
    boxes = torch.cat([corner, corner + torch.rand(12, 2) ** 2 * 120 + 0.5], dim=1)
    return [Boxes(torch.cat([torch.tensor(special), boxes])), Boxes(boxes.flip(0) * 0.9)]


def make_poolers(kind: str, sampling_ratio: int, scales: Sequence[float] = SCALES) -> list[ROIPooler]:
    """Detectron2's pooler and ours."""
    theirs = ROIPooler(3, scales, sampling_ratio, kind, canonical_box_size=32)
    ours = accelerate(copy.deepcopy(theirs))
    assert isinstance(ours, RegionPooler)
    return [theirs, ours]


@pytest.fixture
def always_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooler, "sparse_is_faster", lambda *_: True)


@pytest.fixture
def never_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooler, "HAS_SPARSE_PRODUCT", False)


def sparse_arguments(kind: str, sampling_ratio: int, boxes: Tensor) -> dict[str, object]:
    """Arguments of `sparse_roi_align` but for the maps: boxes in both images and on all levels in turn."""
    rows = torch.arange(len(boxes))
    return {
        "boxes": boxes,
        "image": rows % 2,
        "level": rows % len(SCALES),
        "scales": SCALES,
        "output_size": (3, 4),
        "sampling_ratio": sampling_ratio,
        "aligned": kind == "ROIAlignV2",
    }


@EVERY_WAY
def test_it_is_the_definition(kind: str, sampling_ratio: int) -> None:
    maps = make_maps(dtype=torch.float64)
    arguments = sparse_arguments(kind, sampling_ratio, make_boxes()[0].tensor)
    torch.testing.assert_close(
        sparse_roi_align(maps, **arguments), slow_roi_align(maps, **arguments), rtol=1e-12, atol=1e-12
    )


@EVERY_WAY
@pytest.mark.parametrize("scales", [SCALES, (1 / 16,)])
@pytest.mark.usefixtures("always_sparse")
def test_its_error_is_at_most_twice_that_of_torchvision(
    kind: str, sampling_ratio: int, scales: Sequence[float]
) -> None:
    theirs, ours = make_poolers(kind, sampling_ratio, scales)
    errors = []
    exact_maps = [x.double().requires_grad_() for x in make_maps(scales)]
    exact = theirs(exact_maps, [Boxes(x.tensor.double()) for x in make_boxes()])
    grad = torch.randn_like(exact)
    exact.backward(grad)
    for way in (theirs, ours):
        maps = [x.requires_grad_() for x in make_maps(scales)]
        found = way(maps, make_boxes())
        found.backward(grad.float())
        wrong = [(found - exact).abs().max().item()]
        wrong += [(x.grad - y.grad).abs().max().item() for x, y in zip(maps, exact_maps, strict=True)]
        errors.append(wrong)
    for theirs_error, our_error in zip(*errors, strict=True):
        assert our_error <= 2 * theirs_error + 1e-6


@EVERY_WAY
@pytest.mark.usefixtures("always_sparse")
def test_channels_last_and_contiguous_maps_give_the_same(kind: str, sampling_ratio: int) -> None:
    _, ours = make_poolers(kind, sampling_ratio)
    found = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        maps = [x.to(memory_format=memory_format).requires_grad_() for x in make_maps()]
        pooled = ours(maps, make_boxes())
        pooled.square().sum().backward()
        found.append([pooled, *(x.grad for x in maps)])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


@EVERY_WAY
def test_a_bound_on_the_entries_changes_nothing_but_the_memory(
    kind: str, sampling_ratio: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = [x.requires_grad_() for x in make_maps()]
    arguments = sparse_arguments(kind, sampling_ratio, make_boxes()[0].tensor)

    def run() -> list[Tensor]:
        pooled = sparse_roi_align(maps, **arguments)
        return [pooled, *torch.autograd.grad(pooled.square().sum(), maps)]

    sizes: list[int] = []
    make = torch.sparse_csr_tensor

    def counted(*args: object, **kwargs: object) -> Tensor:
        matrix = make(*args, **kwargs)
        sizes.append(matrix.values().numel())
        return matrix

    whole = run()
    monkeypatch.setattr(torch, "sparse_csr_tensor", counted)
    monkeypatch.setattr(roi_align, "_MAX_ENTRIES", 1)
    for a, b in zip(run(), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    # A matrix has at least one region. It is made for each pass, and transposed in the backward pass.
    assert len(sizes) == 3 * len(arguments["boxes"])
    number, largest = len(sizes), max(sizes)
    sizes.clear()
    monkeypatch.setattr(roi_align, "_MAX_ENTRIES", 4 * largest)
    for a, b in zip(run(), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert len(sizes) < number and max(sizes) <= 4 * largest


def test_a_map_is_copied_once_however_many_parts_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = sparse_arguments("ROIAlignV2", 2, make_boxes()[0].tensor)
    tables: list[Tensor] = []
    make = roi_align._pixels
    monkeypatch.setattr(roi_align, "_pixels", lambda x: tables.append(make(x)) or tables[-1])
    monkeypatch.setattr(roi_align, "_MAX_ENTRIES", 1)
    sparse_roi_align(make_maps(), **arguments)
    levels = set(arguments["level"].tolist())
    assert len(tables) == len(levels) < len(arguments["boxes"])


@given(
    boxes=st.lists(st.lists(st.floats(-300, 500, width=32), min_size=4, max_size=4), min_size=1, max_size=5),
    sampling_ratio=st.integers(0, 3),
    aligned=st.booleans(),
)
def test_any_boxes_give_the_answer_of_torchvision(
    boxes: list[list[float]], sampling_ratio: int, aligned: bool
) -> None:
    # torchvision fails for an adaptive number of samples in boxes whose corners are exchanged.
    given_boxes = torch.tensor(boxes).view(-1, 2, 2).sort(dim=1).values.flatten(1)
    theirs = ROIPooler((3, 4), SCALES, sampling_ratio, "ROIAlignV2" if aligned else "ROIAlign")
    rows = torch.arange(len(boxes))
    level = rows % len(SCALES)
    # In float64, since rounding decides how many samples an adaptive grid has.
    maps = make_maps(dtype=torch.float64)
    ours = sparse_roi_align(
        maps,
        given_boxes,
        rows % 2,
        level,
        scales=SCALES,
        output_size=(3, 4),
        sampling_ratio=sampling_ratio,
        aligned=aligned,
    )
    regions = torch.cat([(rows % 2)[:, None], given_boxes], dim=1).double()
    for number, way in enumerate(theirs.level_poolers):
        here = level == number
        torch.testing.assert_close(ours[here], way(maps[number], regions[here]), rtol=1e-9, atol=1e-9)


def test_a_box_of_nan_has_features_of_nan_and_harms_no_other() -> None:
    arguments = sparse_arguments("ROIAlignV2", 2, torch.tensor([[0.0, 0, 50, 50], [torch.nan, 0, 9, 9]]))
    pooled = sparse_roi_align(make_maps(), **arguments)
    assert pooled[0].isfinite().all() and pooled[1].isnan().all()


@pytest.mark.parametrize("edge", [1e30, torch.inf])
def test_a_box_without_end_is_no_error(edge: float) -> None:
    arguments = sparse_arguments("ROIAlignV2", 0, torch.tensor([[0.0, 0, 50, 50], [0, 0, edge, edge]]))
    assert sparse_roi_align(make_maps(), **arguments)[0].isfinite().all()


def test_a_box_whose_corners_are_exchanged_is_no_error() -> None:
    arguments = sparse_arguments("ROIAlignV2", 0, torch.tensor([[50.0, 50, 20, 20]]))
    assert not sparse_roi_align(make_maps(), **arguments).any()


def test_an_image_that_does_not_exist_is_an_error() -> None:
    arguments = {**sparse_arguments("ROIAlignV2", 2, torch.rand(2, 4)), "image": torch.tensor([0, 2])}
    with pytest.raises(IndexError, match="one of the 2 images"):
        sparse_roi_align(make_maps(), **arguments)


@EVERY_WAY
@pytest.mark.usefixtures("always_sparse")
def test_images_and_levels_without_boxes(kind: str, sampling_ratio: int) -> None:
    _, ours = make_poolers(kind, sampling_ratio)
    maps = [x.requires_grad_() for x in make_maps()]
    none = Boxes(torch.zeros(0, 4))
    assert ours(maps, []).shape == (0, 5, 3, 3)
    empty = ours(maps, [none, none])
    assert empty.shape == (0, 5, 3, 3)
    empty.sum().backward()
    assert all(x.grad is not None and not x.grad.any() for x in maps)
    one_level = ours(maps, [none, Boxes(torch.tensor([[1.0, 2, 9, 9]]))])
    one_level.sum().backward()
    assert [bool(x.grad.any()) for x in maps] == [True, False, False]


@EVERY_WAY
@pytest.mark.parametrize("scales", [SCALES, (1 / 16,)])
@pytest.mark.usefixtures("never_sparse")
def test_without_sparse_products_it_is_detectron2s_pooler(
    kind: str, sampling_ratio: int, scales: Sequence[float]
) -> None:
    theirs, ours = make_poolers(kind, sampling_ratio, scales)
    assert torch.equal(ours(make_maps(scales), make_boxes()), theirs(make_maps(scales), make_boxes()))


@EVERY_WAY
def test_the_way_for_gpus_is_detectron2s_pooler(kind: str, sampling_ratio: int) -> None:
    theirs, ours = make_poolers(kind, sampling_ratio)
    maps = [x.requires_grad_() for x in make_maps()]
    boxes = make_boxes()
    image = torch.cat([torch.full((len(x),), i) for i, x in enumerate(boxes)])
    joined = torch.cat([x.tensor for x in boxes])
    regions = torch.cat([image[:, None], joined], dim=1)
    answers = [ours._masked(maps, regions, ours.levels(joined)), theirs(maps, boxes)]
    assert torch.equal(*answers)
    grads = [torch.autograd.grad(x.square().sum(), maps) for x in answers]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_rule_depends_on_regions_and_map() -> None:
    large = torch.empty(1, 256, 200, 304, device="meta")
    last = torch.empty(1, 256, 200, 304, device="meta").to(memory_format=torch.channels_last)
    samples = 7 * 7 * 16
    assert not sparse_is_faster([large], 5, samples)
    assert sparse_is_faster([large], 512, samples)
    assert sparse_is_faster([last], 5, samples)
    trained = [x.requires_grad_() for x in (torch.empty(8, 64, 48, 48, device="meta"),)]
    assert sparse_is_faster(trained, 1024, samples)


@pytest.mark.usefixtures("always_sparse")
def test_copies_and_pickles_work() -> None:
    _, ours = make_poolers("ROIAlignV2", 2)
    expected = ours(make_maps(), make_boxes())
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert torch.equal(other(make_maps(), make_boxes()), expected)
        assert not list(other.state_dict())


def test_poolers_of_another_kind_stay() -> None:
    for kind in ("ROIPool", "ROIAlignRotated"):
        theirs = ROIPooler(7, SCALES, 2, kind)
        assert type(accelerate(theirs)) is ROIPooler
    assert isinstance(theirs.level_poolers[0], ROIAlignRotated)


def test_pytorch_knows_the_operator() -> None:
    """Shapes without values, gradients, and the rules for operators."""
    maps = [x.requires_grad_() for x in make_maps()]
    arguments = sparse_arguments("ROIAlignV2", 2, make_boxes()[0].tensor)
    torch.library.opcheck(torch.ops.reldn_d2.roi_align.default, (maps, *arguments.values()))


@pytest.mark.usefixtures("always_sparse")
def test_it_compiles() -> None:
    _, ours = make_poolers("ROIAlignV2", 2)
    maps, boxes = make_maps(), make_boxes()
    joined = torch.cat([x.tensor for x in boxes])
    image = torch.cat([torch.full((len(x),), i) for i, x in enumerate(boxes)])
    compiled = torch.compile(ours.pool, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(maps, joined, image), ours.pool(maps, joined, image))


@pytest.mark.usefixtures("always_sparse")
def test_under_autocast_sums_are_float32() -> None:
    _, ours = make_poolers("ROIAlignV2", 2)
    maps = [x.bfloat16() for x in make_maps()]
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(maps, make_boxes())
    assert found.dtype == torch.bfloat16
    exact = ours([x.float() for x in maps], make_boxes())
    torch.testing.assert_close(found.float(), exact, rtol=2**-8, atol=2**-9)
