"""A ViT with a linear head, how it is fed and scored."""

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mae_bench.kit.images import normalize
from mae_bench.kit.spec import EncoderSpec
from mae_bench.kit.vit import NORM_EPS, VisionTransformer

Pool = Literal["cls", "avg"]


class Classifier(VisionTransformer):
    """ViT classifier. `cls`: the final norm's cls token; `avg`: patch mean, then `fc_norm`.

    With `avg` there is no `norm`, as in MAE fine-tuning.
    """

    def __init__(
        self, spec: EncoderSpec, num_classes: int, pool: Pool = "cls", drop_path: float = 0.0
    ) -> None:
        super().__init__(spec, drop_path)
        self.pool = pool
        if pool == "avg":
            del self.norm
            self.fc_norm = nn.LayerNorm(spec.width, eps=NORM_EPS)
        self.head = nn.Linear(spec.width, num_classes)

    def features(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch width"]:
        """Return what reaches the head."""
        tokens = self.encode(images)
        if self.pool == "avg":
            return self.fc_norm(tokens[:, 1:].mean(dim=1))
        return self.norm(tokens[:, 0])

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        return self.head(self.features(images))


@torch.no_grad()
def top1_accuracy(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the percentage of images whose largest logit is their label; each counts once."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    correct, seen = torch.zeros((), dtype=torch.long, device=device), 0
    for images, labels in batches:
        logits = model(normalize(images.to(device)))
        correct += (logits.argmax(dim=1) == labels.to(device)).sum()
        seen += len(labels)
    model.train(was_training)
    return 100.0 * int(correct) / seen
