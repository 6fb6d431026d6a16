"""detectron2's proposal network, which survives predictions that are not finite."""

from typing import Any

import torch
from detectron2.modeling.proposal_generator import RPN
from torch import Tensor


class GuardedRPN(RPN):  # type: ignore[misc] # detectron2 has no types
    """The RPN whose losses become NaN in training when its boxes or scores are not finite.

    detectron2's own ends the process instead, on that rank alone. So the guard leaves the step out
    on all ranks, or the scaler of fp16 does, and the run goes on.
    """

    def forward(self, *given: Any) -> Any:
        """Return the proposals of each image and, in training, the losses."""
        self.finite: list[Tensor] = []
        proposals, losses = super().forward(*given)
        if self.training:
            # A factor, since the scaler looks at gradients and not at losses.
            factor = torch.where(torch.stack(self.finite).all(), 1.0, torch.nan)
            losses = {name: loss * factor for name, loss in losses.items()}
        return proposals, losses

    def predict_proposals(self, anchors: Any, scores: list[Tensor], *rest: Any) -> Any:
        """Return the proposals; in training scores that are not finite count as 0."""
        return super().predict_proposals(anchors, self._noted(scores), *rest)

    def _decode_proposals(self, anchors: Any, deltas: list[Tensor]) -> list[Tensor]:
        """Return the boxes of each level; in training sides that are not finite are at 0."""
        return self._noted(super()._decode_proposals(anchors, deltas))

    def _noted(self, levels: list[Tensor]) -> list[Tensor]:
        """Return finite values in training, noting whether all were."""
        if not self.training:
            return levels
        self.finite += [level.isfinite().all() for level in levels]
        return [level.nan_to_num(0.0, posinf=0.0, neginf=0.0) for level in levels]
