"""Products of bfloat16 numbers, computed in float32."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tools import measure_bf16
from tools.measure_bf16 import RoundedProducts


def rounded(x: Tensor) -> Tensor:
    return x.bfloat16().float()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_products_under_autocast_are_those_of_rounded_numbers(
    mode: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    x, kernel, matrix = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3), torch.randn(5, 6)
    expected = F.conv2d(rounded(x), rounded(kernel)), F.linear(rounded(x), rounded(matrix))
    seen: list[bool] = []
    is_bf16 = measure_bf16._is_bf16
    monkeypatch.setattr(measure_bf16, "_is_bf16", lambda value: seen.append(is_bf16(value)) or seen[-1])
    with mode(), torch.autocast("cpu", dtype=torch.bfloat16), RoundedProducts():
        found = F.conv2d(x, kernel), F.linear(x, matrix)
    assert any(seen)
    for ours, exact in zip(found, expected, strict=True):
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours.float(), exact, rtol=2**-8, atol=1e-4)
