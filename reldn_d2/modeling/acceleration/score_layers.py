"""The layers of a detector that give scores, with outputs in float32 under autocast.

Softmax, ranking and suppression need more digits than bfloat16 has: its scores would be equal in crowds.
"""

from typing import cast

from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from torch import Tensor

from .precision import at_least_float32


class Float32OutputLayers(FastRCNNOutputLayers):
    """Detectron2's FastRCNNOutputLayers with outputs in float32."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Computes class logits and box deltas of (R, D) region features."""
        scores, deltas = super().forward(x)
        return at_least_float32(scores), at_least_float32(deltas)


class Float32RPNHead(StandardRPNHead):
    """Detectron2's StandardRPNHead with outputs in float32."""

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Computes objectness logits and anchor deltas of each feature map."""
        found = cast(tuple[list[Tensor], list[Tensor]], super().forward(features))
        logits, deltas = ([at_least_float32(x) for x in part] for part in found)
        return logits, deltas
