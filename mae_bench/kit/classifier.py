"""A ViT with a linear head."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from mae_bench.kit.spec import EncoderSpec
from mae_bench.kit.vit import VisionTransformer

Pool = Literal["cls", "avg"]


class Classifier(VisionTransformer):
    """ViT classifier. `cls`: the final norm's cls token; `avg`: patch mean, then `fc_norm`.

    With `avg` there is no `norm`, as in MAE fine-tuning. An encoder without a cls token gives the
    mean of its normalised patches for `cls`.
    """

    def __init__(
        self, spec: EncoderSpec, num_classes: int, pool: Pool = "cls", drop_path: float = 0.0
    ) -> None:
        super().__init__(spec, drop_path)
        self.pool = pool
        if pool == "avg":
            del self.norm
            self.fc_norm = nn.LayerNorm(spec.width, eps=spec.norm_eps)
        self.head = nn.Linear(spec.width, num_classes)

    def features(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch width"]:
        """Return what reaches the head."""
        tokens = self.encode(images)
        if self.pool == "avg":
            return self.fc_norm(tokens[:, self.spec.num_prefix :].mean(dim=1))
        return self.pooled(self.norm(tokens))

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch classes"]:
        """Return the logits."""
        return self.head(self.features(images))
