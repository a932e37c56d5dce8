"""RoIAlign on CPUs: sparse matrix products beside torchvision's kernels, and the rule that chooses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torchvision.ops import roi_align

from reldn_d2.modeling.acceleration.roi_align import (
    HAS_SPARSE_PRODUCT,
    pixels_of_region,
    sparse_is_faster,
    sparse_roi_align,
)

from .timing import Row, Skipped, Timer, assert_relative, noted

_PLACES = 7  # of the output, along each axis
_STRIDE = 4  # pixels of the network input for one of the map
_LARGEST = 200  # pixels of the network input, the longest side of a box
_LAYOUTS = {"channels last": torch.channels_last, "NCHW": torch.contiguous_format}


@dataclass(frozen=True)
class Case:
    """Regions of feature maps.

    Attributes:
        regions, channels, images: numbers.
        height, width: size of the maps.
        sampling_ratio: samples of an output place along each axis; 0: one a pixel.
        layout: a key of `_LAYOUTS`.
    """

    regions: int
    channels: int
    images: int
    height: int
    width: int
    sampling_ratio: int
    layout: str = "channels last"

    def __str__(self) -> str:
        return (
            f"{self.regions:,} regions × {self.channels} channels, {self.images} × {self.height} × "
            f"{self.width}, {self.layout}, sampling ratio {self.sampling_ratio}"
        )


_CASES = [
    Case(regions, channels, images, height, width, sampling_ratio, layout)
    for regions, channels, images, height, width in (
        (1024, 64, 8, 48, 48),
        (512, 256, 1, 200, 304),
        (5, 256, 1, 200, 304),
    )
    for layout in _LAYOUTS
    for sampling_ratio in (2, 0)
]


def rows(timer: Timer) -> Iterator[Row | Skipped]:
    """Measures the forward pass alone, and with the backward pass."""
    if not HAS_SPARSE_PRODUCT:
        yield Skipped("RoIAlign", "this build of PyTorch has no product of sparse matrices")
        return
    for case in _CASES:
        yield from rows_of(timer, case)


def rows_of(timer: Timer, case: Case) -> Iterator[Row | Skipped]:
    """Measures the two passes of a case."""
    pooling = Pooling(case)
    for name, backward in (("forward", False), ("forward and backward", True)):
        row = timer.measure(
            f"RoIAlign {name}, {case}",
            partial(pooling.sparse, backward),
            slow=partial(pooling.torchvision, backward),
            slow_name="torchvision",
            same=_same,
        )
        chosen = "sparse" if pooling.rule(backward) else "torchvision"
        yield noted(row, partial(_verdict, chosen))


def _verdict(chosen: str, row: Row) -> str:
    faster = "sparse" if row.ms < row.slow_ms else "torchvision"
    return f"the rule takes {chosen}, which {'was' if chosen == faster else 'was not'} faster"


class Pooling:
    """Maps and regions, and two ways to pool them."""

    def __init__(self, case: Case) -> None:
        """Draws maps and regions, of sizes that a pyramid pools from its finest map."""
        g = torch.Generator().manual_seed(0)
        self.case = case
        maps = torch.randn(case.images, case.channels, case.height, case.width, generator=g)
        self.maps = maps.to(memory_format=_LAYOUTS[case.layout])
        size = torch.tensor([case.width, case.height]) * _STRIDE
        corner = torch.rand(case.regions, 2, generator=g) * size / 2
        sides = 8 + torch.rand(case.regions, 2, generator=g) * ((size / 2).clamp(max=_LARGEST) - 8)
        self.boxes = torch.cat([corner, corner + sides], dim=1)
        self.image = torch.arange(case.regions) % case.images
        self.weight = torch.randn(case.regions, case.channels, _PLACES, _PLACES, generator=g)

    def sparse(self, backward: bool) -> list[Tensor]:
        """Pooled values, and with `backward` the gradient of the maps."""

        def pool(maps: Tensor) -> Tensor:
            return sparse_roi_align(
                [maps],
                self.boxes,
                self.image,
                torch.zeros_like(self.image),
                scales=[1 / _STRIDE],
                output_size=(_PLACES, _PLACES),
                sampling_ratio=self.case.sampling_ratio,
                aligned=True,
            )

        return self._differentiated(pool, backward)

    def torchvision(self, backward: bool) -> list[Tensor]:
        """The same with torchvision's kernels."""
        regions = torch.cat([self.image[:, None].float(), self.boxes], dim=1)

        def pool(maps: Tensor) -> Tensor:
            size = (_PLACES, _PLACES)
            pooled: Tensor = roi_align(maps, regions, size, 1 / _STRIDE, self.case.sampling_ratio, True)
            return pooled

        return self._differentiated(pool, backward)

    def rule(self, backward: bool) -> bool:
        """Whether the rule expects the sparse way to be faster, as `RegionPooler` asks it."""
        samples = pixels_of_region((_PLACES, _PLACES), self.case.sampling_ratio)
        return sparse_is_faster([self.maps.requires_grad_(backward)], self.case.regions, samples)

    def _differentiated(self, pool: Callable[[Tensor], Tensor], backward: bool) -> list[Tensor]:
        maps = self.maps.detach().requires_grad_(backward)
        pooled = pool(maps)
        if not backward:
            return [pooled]
        return [pooled.detach(), *torch.autograd.grad(pooled, maps, self.weight)]


def _same(sparse: list[Tensor], dense: list[Tensor]) -> None:
    # torchvision rounds positions on the map to float32.
    assert_relative(sparse, dense, 1e-4)
