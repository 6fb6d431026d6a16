"""The file that fine-tuning leaves: a whole classifier and the names of its classes.

Its tensors are the encoder's in canonical names without the final norm, then fc_norm and head.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mae_bench.core.files import write_bytes
from mae_bench.kit.classifier import Classifier
from mae_bench.kit.encoder import encoder_shapes, load_exactly
from mae_bench.kit.spec import EncoderSpec

HEADER = "mae_bench.classifier"


@dataclass(frozen=True)
class ClassifierFile:
    """A classifier file in memory."""

    spec: EncoderSpec
    state: Mapping[str, Tensor]
    classes: tuple[str, ...]
    """Names in the order of the logits."""
    history: tuple[str, ...] = ()
    """What was done to the encoder before and in fine-tuning, in words."""
    deviations: tuple[str, ...] = ()
    """How its fine-tuning differs from the published one; empty if it does not."""
    sha256: str = ""
    """Of the file's bytes; empty before it is written."""

    def model(self) -> Classifier:
        """Return the classifier with exactly these weights, ready to be asked."""
        model = Classifier(self.spec, len(self.classes), "avg")
        load_exactly(model, self.state)
        return model.eval()


def classifier_shapes(spec: EncoderSpec, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Return every tensor name of a classifier file with its shape."""
    shapes = {n: s for n, s in encoder_shapes(spec).items() if not n.startswith("norm.")}
    width = spec.width
    shapes |= {"fc_norm.weight": (width,), "fc_norm.bias": (width,)}
    return shapes | {"head.weight": (num_classes, width), "head.bias": (num_classes,)}


def write_classifier(path: Path, content: ClassifierFile) -> None:
    """Write the classifier file, whole or not at all; ValueError if it would not be readable."""
    _check(str(path), content)
    tensors = {n: t.detach().cpu().float().contiguous() for n, t in content.state.items()}
    about = {
        "spec": dataclasses.asdict(content.spec),
        "classes": content.classes,
        "history": content.history,
        "deviations": content.deviations,
    }
    write_bytes(path, save(tensors, {HEADER: json.dumps(about)}))


def read_classifier(path: Path) -> ClassifierFile:
    """Return the classifier in a file that fine-tuning wrote.

    Raises ValueError, naming the file, if it is missing, truncated, an encoder or another file, or
    if a tensor is missing, unexpected or of another shape than its own spec and classes say.
    """
    if not path.is_file():
        raise ValueError(
            f"no classifier file {path}; fine-tuning leaves one: run imagenet_finetune first, and "
            "if it was done by an earlier version delete its result.json and run it again"
        )
    try:
        with safe_open(path, framework="pt") as stream:
            header = stream.metadata() or {}
            state = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    content = _content(path, header, state)
    _check(str(path), content)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return dataclasses.replace(content, sha256=digest)


def _content(path: Path, header: dict[str, str], state: dict[str, Tensor]) -> ClassifierFile:
    """Return what header and tensors say."""
    if HEADER not in header:
        kind = "an encoder" if "mae_bench.encoder" in header else "no file of mae-bench"
        raise ValueError(
            f"{path} is {kind}, expected the classifier.safetensors of a fine-tuning; run "
            "`mae-bench transfer imagenet_finetune` first and pass what it leaves"
        )
    try:
        about: dict[str, Any] = json.loads(header[HEADER])
        fields = about["spec"]
        spec = EncoderSpec(**fields | {k: tuple(fields[k]) for k in ("mean", "std")})
        words = {k: tuple(about[k]) for k in ("classes", "history", "deviations")}
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} has a header this version cannot read: {error}") from error
    return ClassifierFile(spec, state, **words)


def _check(what: str, content: ClassifierFile) -> None:
    """Raise ValueError listing what is missing, unexpected or of another shape or name."""
    classes = content.classes
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f"{what} must name each class once, got {len(classes)} names")
    expected = classifier_shapes(content.spec, len(classes))
    found = {name: tuple(tensor.shape) for name, tensor in content.state.items()}
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unexpected {name}" for name in found if name not in expected]
    problems += [
        f"{name} is {list(found[name])}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(
            f"{what} is not a {content.spec.arch} classifier of {len(classes)} classes: "
            + ", ".join(problems[:5])
            + more
        )
