"""Layers whose weights are brought into the form that the computation needs: normalisation folded, precision.

A frozen normalisation after a convolution is an affine map of its output, so it is another weight and another
bias of the convolution. For frozen weights this and the conversion to the precision of autocast are done once
and kept. They are done again after the weights have changed, for example by loading a checkpoint.

Weights that are trained are kept only inside of `fixed_weights`, since some optimizers change them without
PyTorch's notice.

The layers have the parameters of the layers that they replace, under the same names.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

_Weights = tuple[Tensor, Tensor | None]
# oneDNN's fault was seen with fewer input channels than a register has places: 8 with AVX2, and at most 16.
_FEW_CHANNELS = 32

_fixed: ContextVar[object | None] = ContextVar("fixed_weights", default=None)


@contextmanager
def fixed_weights() -> Iterator[None]:
    """A context in which nobody changes weights, for example the inference of a batch."""
    token = _fixed.set(object())
    try:
        yield
    finally:
        _fixed.reset(token)


class _Prepared:
    """The weights of a layer in another form, and the state of the weights that they were made from.

    Attributes:
        channels_last: whether a convolution computes in the memory format "channels last".
    """

    def __init__(self, channels_last: bool) -> None:
        self.channels_last = channels_last
        # One attribute, so that threads never see the one without the other. The sources are held, so that
        # no other tensor gets their address.
        self._kept: tuple[tuple[Any, ...], _Weights, list[Tensor]] | None = None

    def get(self, sources: Sequence[Tensor | None], more: object, make: Callable[[], _Weights]) -> _Weights:
        """The weights, made anew if anything that they depend on has changed.

        Args:
            sources: the tensors that they are made from.
            more: other things that they depend on.
            make: makes them.
        """
        given = [x for x in sources if x is not None]
        state = (more, *map(state_of, given))
        kept = self._kept
        if kept is None or kept[0] != state:
            # Training may use them later, so they must be ordinary tensors.
            with torch.inference_mode(False), torch.no_grad():
                kept = self._kept = (state, make(), [x.detach() for x in given])
        return kept[1]

    def __reduce__(self) -> tuple[type["_Prepared"], tuple[bool]]:
        """Copies and pickles start empty."""
        return _Prepared, (self.channels_last,)


def state_of(x: Tensor) -> object:
    """Something that changes when the values of a tensor change.

    PyTorch counts the changes of a tensor in place, but for those that were made in inference mode. A tensor
    that was replaced lies elsewhere.
    """
    return object() if x.is_inference() else (x._version, x.data_ptr(), x.dtype)


def is_watched(module: nn.Module) -> bool:
    """Whether somebody has hooks in a module or replaced its forward, and so expects it to be called."""
    return any(x._forward_hooks or x._forward_pre_hooks or "forward" in x.__dict__ for x in module.modules())


def prepare_layer(layer: nn.Module, *, channels_last: bool) -> None:
    """Makes one of the layers of this file forget what it has prepared. Other modules stay as they are.

    Args:
        layer: any module.
        channels_last: whether a convolution computes in this memory format. Its parameters stay as they are.
    """
    if isinstance(layer, PreparedConv2d | PreparedPlainConv2d | PreparedLinear):
        layer.__dict__["_prepared"] = _Prepared(channels_last)


class PreparedPlainConv2d(nn.Conv2d):
    """PyTorch's Conv2d with weights that are converted once."""

    _prepared: _Prepared

    def forward(self, input: Tensor) -> Tensor:
        """Computes what Conv2d computes."""
        return _convolve(self, input, *(_converted_once(self, input) or (self.weight, self.bias)))


class PreparedLinear(nn.Linear):
    """PyTorch's Linear with weights that are converted once."""

    _prepared: _Prepared

    def forward(self, input: Tensor) -> Tensor:
        """Computes what Linear computes."""
        weights = _converted_once(self, input)
        return super().forward(input) if weights is None else F.linear(input, *weights)


class PreparedConv2d(Conv2d):
    """Detectron2's Conv2d with weights that are converted once, and with a frozen normalisation folded."""

    _prepared: _Prepared

    def forward(self, x: Tensor) -> Tensor:
        """Computes what Conv2d computes."""
        norm: Any = self.norm
        if norm is None:
            x = _convolve(self, x, *(_converted_once(self, x) or (self.weight, self.bias)))
        elif must_see_parameters() or not _is_frozen(norm):
            x = norm(_convolve(self, x, self.weight, self.bias))
        elif self._scales_output(x):
            scale, shift = (value[:, None, None] for value in self._affine())
            x = _convolve(self, x, self.weight, None).mul_(scale).add_(shift)
        else:
            x = _convolve(self, x, *self._folded(x))
        return x if self.activation is None else self.activation(x)

    def _scales_output(self, x: Tensor) -> bool:
        """Whether the output is scaled instead of the weight, which is trained and has more numbers.

        This takes less time, and less memory: the backward pass needs a scaled weight, but no output.
        """
        places = len(x) * (x.shape[2] // self.stride[0]) * (x.shape[3] // self.stride[1])
        return torch.is_grad_enabled() and self.weight.requires_grad and self.weight[0].numel() > places

    def _folded(self, x: Tensor) -> _Weights:
        """Weight and bias with the normalisation, which is frozen."""
        norm: Any = self.norm
        if any(x.requires_grad for x in self.parameters()):
            return self._fold()
        dtype = _precision(x)
        sources = (
            *(self.weight, self.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var),
            norm.num_batches_tracked,  # counts the changes of the statistics, which PyTorch does not
        )
        layout = torch.channels_last if _is_channels_last(self, x) else torch.contiguous_format

        def make() -> _Weights:
            # PyTorch would copy a weight of another format in each call.
            weight, bias = _converted(*self._fold(), dtype)
            return weight.contiguous(memory_format=layout), bias

        return self._prepared.get(sources, (dtype, norm.eps, layout), make)

    def _fold(self) -> tuple[Tensor, Tensor]:
        scale, shift = self._affine()
        return self.weight * scale[:, None, None, None], shift

    def _affine(self) -> tuple[Tensor, Tensor]:
        """The normalisation: what the convolution without bias is multiplied by, and what is added then."""
        norm: Any = self.norm
        scale = (norm.running_var + norm.eps).rsqrt()
        shift = -norm.running_mean * scale
        if norm.weight is not None:
            scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
        if self.bias is not None:
            shift = shift + self.bias * scale
        return scale, shift


def writes_outside(layer: nn.Module) -> bool:
    """Whether the gradient of a convolution's weights must not be computed in the format "channels last".

    For a kernel of one pixel, a stride and few input channels, oneDNN 3.12 writes outside of its memory then.
    The layers of this file compute the same without a stride (`_convolve`).
    """
    if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1) or max(layer.stride) == 1:
        return False
    return layer.in_channels < _FEW_CHANNELS and not (
        isinstance(layer, PreparedConv2d | PreparedPlainConv2d) and _takes_every_nth_pixel(layer)
    )


def _takes_every_nth_pixel(layer: nn.Conv2d) -> bool:
    """Whether a convolution is the one without stride of every n-th pixel."""
    is_point = layer.kernel_size == (1, 1) and max(layer.stride) > 1
    return is_point and layer.in_channels < _FEW_CHANNELS and layer.padding == (0, 0)


def _convolve(layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of a layer, with other weights."""
    if _is_channels_last(layer, x):
        x = x.contiguous(memory_format=torch.channels_last)
        if layer.kernel_size == (1, 1) and weight.requires_grad:
            # The gradient of a kernel of one pixel would come with other strides for the same memory, and
            # DistributedDataParallel warns of that. The gradient of a view has the strides of the weight.
            weight = weight.flatten(1).view_as(weight)
    if _takes_every_nth_pixel(layer):
        return F.conv2d(x[:, :, :: layer.stride[0], :: layer.stride[1]], weight, bias, groups=layer.groups)
    result: Tensor = layer._conv_forward(x, weight, bias)
    return result


def _is_channels_last(layer: Any, x: Tensor) -> bool:
    """Whether a convolution computes in this memory format."""
    is_channels_last: bool = layer._prepared.channels_last and x.device.type == "cpu"
    return is_channels_last


def _converted_once(layer: Any, x: Tensor) -> _Weights | None:
    """Weight and bias in the precision of autocast, kept; None if they are needed as they are."""
    dtype = _precision(x)
    if dtype is None or torch.is_grad_enabled() or must_see_parameters():
        return None
    is_trained = any(x.requires_grad for x in layer.parameters())
    now = _fixed.get() if is_trained else None
    if is_trained and now is None:
        return None
    sources = (layer.weight, layer.bias)
    kept: _Weights = layer._prepared.get(sources, (dtype, now), lambda: _converted(*sources, dtype))
    return kept


def _converted(weight: Tensor, bias: Tensor | None, dtype: torch.dtype | None) -> _Weights:
    if dtype is None:
        return weight, bias
    return weight.to(dtype), None if bias is None else bias.to(dtype)


def _precision(x: Tensor) -> torch.dtype | None:
    """The type that autocast converts weights to for this input; None if they stay as they are."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def must_see_parameters() -> bool:
    """Whether the computation is being recorded, with the parameters as inputs."""
    is_tracing: Callable[[], bool] = torch.jit._trace.is_tracing  # torch gives it no type
    return torch.compiler.is_compiling() or is_tracing()


def _is_frozen(norm: Any) -> bool:
    """Whether a normalisation layer is an affine map that is not trained, and nobody watches its output."""
    if type(norm) is nn.BatchNorm2d:
        if norm.training or norm.running_mean is None or any(x.requires_grad for x in norm.parameters()):
            return False
    elif type(norm) is not FrozenBatchNorm2d:
        return False
    return not is_watched(norm)
