"""RoIAlign on CPUs as products of sparse matrices.

A pooled value is a weighted sum of the pixels of a feature map, with weights that depend on the box alone. So
all pooled values of a map are one product: a sparse matrix with a row for each output place and a column for
each pixel, times the map as a (pixels, channels) table. Its transpose is the gradient. Both use all threads,
where torchvision's backward kernel for CPUs uses one, and both read maps in the memory format "channels
last" without a copy.

The weights are separable: an output place is the product of a row's and a column's weights. `_Axis` has those
of one axis.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Largest number of matrix entries that exist at a time; one takes up to 20 bytes while the matrix is made.
_MAX_ENTRIES = 2**17
# Largest number of samples of an output place along an axis: more than any map has pixels.
_MAX_SAMPLES = 2**15

# What one thing costs, in nanoseconds on one core (`python -m tools.benchmarks --only roi_align` measures the
# two ways beside each other). Only their ratios matter.
_DENSE_FORWARD, _DENSE_BACKWARD = 0.65, 4.2  # torchvision: a sample of a channel
_SPARSE_ENTRY, _SPARSE_PRODUCT = 12.0, 0.11  # an entry of the matrix, and this entry for a channel
_LAYOUT, _GRADIENT = 1.3, 0.3  # changing the memory format of a value of a map, and making its gradient


def _has_sparse_product() -> bool:
    try:
        with warnings.catch_warnings():
            # PyTorch says once a process that this format is new.
            warnings.simplefilter("ignore")
            matrix = torch.eye(2).to_sparse_csr()
        return torch.equal(matrix @ torch.ones(2, 3), torch.ones(2, 3))
    except RuntimeError:
        return False


#: Whether this build of PyTorch multiplies sparse matrices on CPUs. Builds without MKL may not.
HAS_SPARSE_PRODUCT = _has_sparse_product()


def pixels_of_region(output_size: Sequence[int], sampling_ratio: int) -> int:
    """About how many pixels a region reads, with repeats: four a sample.

    Args:
        output_size: height and width of the output.
        sampling_ratio: see `sparse_roi_align`. An adaptive one depends on the box; two are usual.
    """
    height, width = output_size
    return height * width * 4 * max(sampling_ratio, 2) ** 2


def sparse_is_faster(maps: Sequence[Tensor], regions: int, samples: int) -> bool:
    """Whether `sparse_roi_align` is expected to take less time than torchvision's kernels.

    Args:
        maps: feature maps, each (N, C, H, W).
        regions: number of regions.
        samples: number of pixels that a region reads, with repeats.
    """
    channels = maps[0].shape[1]
    values = sum(x.numel() for x in maps)
    other_layout = sum(x.numel() for x in maps if not x.is_contiguous(memory_format=torch.channels_last))
    entries = regions * samples
    dense = _DENSE_FORWARD * entries * channels + _LAYOUT * (values - other_layout)
    sparse = (_SPARSE_ENTRY + _SPARSE_PRODUCT * channels) * entries + _LAYOUT * other_layout
    if torch.is_grad_enabled() and any(x.requires_grad for x in maps):
        dense += _DENSE_BACKWARD * entries * channels + _GRADIENT * values
        # The matrix is made again, and transposed.
        sparse += (2 * _SPARSE_ENTRY + _SPARSE_PRODUCT * channels) * entries
        sparse += _GRADIENT * values + _LAYOUT * other_layout
    return sparse < dense


def sparse_roi_align(
    maps: Sequence[Tensor],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    *,
    scales: Sequence[float],
    output_size: Sequence[int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Pools regions from the maps of a pyramid, as torchvision's `roi_align` does from one map.

    Args:
        maps: for each level (N, C, H, W), float32 or float64 on a CPU.
        boxes: (K, 4) XYXY in pixels of the network input.
        image: (K,) long, the image of each box, in [0, N).
        level: (K,) long, the map of each box.
        scales: size of each map, divided by that of the network input.
        output_size: height and width of the output.
        sampling_ratio: number of samples of an output place along each axis; 0 or less: one for each pixel
            that the place covers, rounded up, for each box.
        aligned: whether samples are shifted by half a pixel (`ROIAlignV2`).

    Returns:
        (K, C, height, width). Only maps have a gradient.

    Raises:
        IndexError: an image is out of range.
    """
    pooled: Tensor = _forward(maps, boxes, image, level, scales, output_size, sampling_ratio, aligned)
    return pooled


# Operators of PyTorch, so that `torch.compile`, counters of FLOPs and tracing see one step with known shapes.
_REGIONS = (
    "Tensor boxes, Tensor image, Tensor level, float[] scales, int[] output_size, int sampling_ratio, "
    "bool aligned"
)


@torch.library.custom_op(
    "reldn_d2::roi_align", mutates_args=(), schema=f"(Tensor[] maps, {_REGIONS}) -> Tensor"
)
def _forward(maps: Sequence[Tensor], boxes: Tensor, *regions: Any) -> Tensor:
    height, width = regions[3]
    channels = maps[0].shape[1]
    with torch.autocast("cpu", enabled=False):
        # Contiguous, since box heads flatten it.
        pooled = maps[0].new_empty(len(boxes), channels, height, width)
        last, pixels = None, maps[0]
        for rows, index, matrix in _matrices(maps, boxes, *regions):
            if index != last:
                last, pixels = index, _pixels(maps[index])  # a copy, unless the map is channels last
            product = matrix @ pixels
            pooled[rows] = product.view(len(rows), height, width, channels).permute(0, 3, 1, 2)
        return pooled


@_forward.register_fake
def _(maps: Sequence[Tensor], boxes: Tensor, *regions: Any) -> Tensor:
    return maps[0].new_empty(boxes.shape[0], maps[0].shape[1], *regions[3])


@torch.library.custom_op(
    "reldn_d2::roi_align_backward",
    mutates_args=(),
    schema=f"(Tensor grad, Tensor[] maps, {_REGIONS}) -> Tensor[]",
)
def _backward(grad: Tensor, maps: Sequence[Tensor], *regions: Any) -> list[Tensor]:
    channels = grad.shape[1]
    with torch.autocast("cpu", enabled=False):
        tables: dict[int, Tensor] = {}
        for rows, index, matrix in _matrices(maps, *regions):
            transposed = _transposed(matrix)
            of_places = grad[rows].flatten(2).transpose(1, 2).reshape(-1, channels)
            if index in tables:
                tables[index].addmm_(transposed, of_places)
            else:
                tables[index] = transposed @ of_places
        return [_map(tables.get(index), x) for index, x in enumerate(maps)]


@_backward.register_fake
def _(_: Tensor, maps: Sequence[Tensor], *__: Any) -> list[Tensor]:
    return [torch.empty_like(x, memory_format=torch.channels_last) for x in maps]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    maps, boxes, image, level, *ctx.settings = inputs
    ctx.save_for_backward(*maps, boxes, image, level)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    *maps, boxes, image, level = ctx.saved_tensors
    grads = _backward(grad, maps, boxes, image, level, *ctx.settings)
    return grads, *(None for _ in range(3 + len(ctx.settings)))


_forward.register_autograd(_differentiate, setup_context=_save)


def _matrices(
    maps: Sequence[Tensor],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    scales: Sequence[float],
    output_size: Sequence[int],
    sampling_ratio: int,
    aligned: bool,
) -> Iterator[tuple[Tensor, int, Tensor]]:
    """Makes the matrices of all regions, in parts.

    Yields:
        (k,) long rows of regions; the index of their map; a sparse (k · height · width, N · H · W) matrix.
    """
    num_images = maps[0].shape[0]
    if len(image) and not 0 <= int(image.min()) <= int(image.max()) < num_images:
        raise IndexError(f"the image of a region is not one of the {num_images} images of the feature maps")
    for index, (x, scale) in enumerate(zip(maps, scales, strict=True)):
        rows = (level == index).nonzero()[:, 0]
        # Positions are exact in float64, and few.
        start_x, start_y, end_x, end_y = (boxes[rows].double() * scale - 0.5 * aligned).unbind(dim=1)
        sizes = torch.stack([end_y - start_y, end_x - start_x], dim=1)
        if not aligned:
            sizes.clamp_(min=1)  # as in torchvision
        grid = torch.full_like(sizes, sampling_ratio)
        if sampling_ratio <= 0:
            grid = (sizes / sizes.new_tensor(output_size)).nan_to_num(0).ceil().clamp(max=_MAX_SAMPLES)
        for part in _similar(grid):
            y = _axis(start_y[part], sizes[part, 0], output_size[0], grid[part, 0], x.shape[2], x.dtype)
            xs = _axis(start_x[part], sizes[part, 1], output_size[1], grid[part, 1], x.shape[3], x.dtype)
            yield from _blocks(rows[part], index, x, image, y, xs)


def _similar(grid: Tensor) -> Iterator[Tensor]:
    """Rows of regions with similar numbers of samples, so that no region is padded to many times its size.

    Args:
        grid: (K, 2) numbers of samples of an output place along each axis.
    """
    size = grid.amax(dim=1).clamp(min=1).log2().ceil() if len(grid) else grid[:, 0]
    for value in sorted(set(size.tolist())):
        yield (size == value).nonzero()[:, 0]


class _Axis(NamedTuple):
    """The pixels along one axis that the output places of K regions read.

    Attributes:
        pixel: (K, places, E) int32, pixels of the map. A pixel may occur twice, or with weight 0.
        weight: (K, places, E), their weights.
    """

    pixel: Tensor
    weight: Tensor

    def rows(self, part: slice) -> "_Axis":
        """These numbers of some of the regions."""
        return _Axis(self.pixel[part], self.weight[part])


def _axis(start: Tensor, size: Tensor, places: int, grid: Tensor, length: int, dtype: torch.dtype) -> _Axis:
    """Finds the pixels along one axis.

    Args:
        start, size: (K,) first coordinates and sizes of the regions, in pixels of the map.
        places: number of output places.
        grid: (K,) number of samples of an output place.
        length: number of pixels of the map.
        dtype: type of the weights.
    """
    samples = max(int(grid.max()), 1)
    sample = torch.arange(samples, dtype=start.dtype)
    share = (sample + 0.5) / grid.clamp(min=1)[:, None]
    place = torch.arange(places, dtype=start.dtype)
    position = start[:, None, None] + (place[:, None] + share[:, None]) * (size / places)[:, None, None]
    # A sample more than a pixel outside of the map is 0, the others read the nearest pixel.
    used = (position >= -1) & (position <= length) & (sample < grid[:, None])[:, None]
    position = position.clamp(0, length - 1)
    low = position.nan_to_num(0).long()
    high_share = position - low  # NaN for a box of NaN, and so are the features then
    scale = used / grid.clamp(min=1)[:, None, None]
    weight = torch.stack([(1 - high_share) * scale, high_share * scale], dim=-1).to(dtype)
    first = low.amin(dim=2, keepdim=True)
    window = int((low - first).max()) + 2
    if 2 * samples < window:
        pixel = torch.stack([low, low + 1], dim=-1).flatten(2)
        weight = weight.flatten(2)
    else:
        # Neighbouring samples share pixels: their weights are added up.
        pixel = first + torch.arange(window)
        shared = weight.new_zeros(pixel.shape)
        shared.scatter_add_(2, low - first, weight[..., 0])
        shared.scatter_add_(2, low - first + 1, weight[..., 1])
        weight = shared
    return _Axis(pixel.clamp_(max=length - 1).int(), weight)


def _blocks(
    rows: Tensor, index: int, x: Tensor, image: Tensor, y_axis: _Axis, x_axis: _Axis
) -> Iterator[tuple[Tensor, int, Tensor]]:
    """Makes the matrices of regions of one map, see `_matrices`, each with a limited number of entries."""
    num_images, _, height, width = x.shape
    places = y_axis.pixel.shape[1] * x_axis.pixel.shape[1]
    entries = y_axis.pixel.shape[2] * x_axis.pixel.shape[2]
    size = max(_MAX_ENTRIES // (places * entries), 1)
    pixels = num_images * height * width
    first_pixel = (image[rows] * (height * width)).int()
    for begin in range(0, len(rows), size):
        part = slice(begin, begin + size)
        y, xs = y_axis.rows(part), x_axis.rows(part)
        row_start = y.pixel * width + first_pixel[part, None, None]
        column = row_start[:, :, None, :, None] + xs.pixel[:, None, :, None, :]
        value = y.weight[:, :, None, :, None] * xs.weight[:, None, :, None, :]
        used = value.view(-1, entries) != 0
        ends = used.sum(dim=1, dtype=torch.int32).cumsum(dim=0, dtype=torch.int32)
        kept = used.view(-1).nonzero()[:, 0]
        matrix = torch.sparse_csr_tensor(
            torch.cat([ends.new_zeros(1), ends]),
            column.view(-1).index_select(0, kept),
            value.view(-1).index_select(0, kept),
            (len(ends), pixels),
            check_invariants=False,
        )
        yield rows[part], index, matrix


def _transposed(matrix: Tensor) -> Tensor:
    """The transpose, in the same format, which PyTorch multiplies with all threads."""
    num_rows, num_columns = matrix.shape
    starts, columns = matrix.crow_indices(), matrix.col_indices()
    columns, order = columns.sort()
    rows = torch.arange(num_rows, dtype=torch.int32).repeat_interleave(
        starts.diff(), output_size=len(columns)
    )
    counts = columns.bincount(minlength=num_columns)
    ends = counts.cumsum(dim=0, dtype=torch.int32)
    return torch.sparse_csr_tensor(
        torch.cat([ends.new_zeros(1), ends]),
        rows.index_select(0, order),
        matrix.values().index_select(0, order),
        (num_columns, num_rows),
        check_invariants=False,
    )


def _pixels(x: Tensor) -> Tensor:
    """A feature map as a (N · H · W, C) table, row by row in memory, which products read fastest."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).contiguous()


def _map(pixels: Tensor | None, like: Tensor) -> Tensor:
    """A table of pixels as a map of the shape of another one; None: zeros."""
    n, channels, height, width = like.shape
    table = like.new_zeros(n * height * width, channels) if pixels is None else pixels
    return table.view(n, height, width, channels).permute(0, 3, 1, 2)
