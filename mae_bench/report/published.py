"""Numbers of others, each with its source: the package's ledger, and its form for users' own."""

import csv
import functools
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from mae_bench.core.recipe import Metric, unknown
from mae_bench.core.registry import TASKS, load
from mae_bench.kit.archs import ARCHS

LEDGER = Path(__file__).with_name("published.csv")
OTHER_BACKBONES = ("resnet50", "alexnet", "vit_384x12_patch16")
"""Of the ledger, though no recipe here has them. The last is MoCo v3's small model, whose twelve
heads make it another one than vit_small_patch16; encoders from its files are called so too."""
OTHER_PROTOCOLS = {
    f"voc-{task}-alexnet": Metric(name, "")
    for task, name in (("classification", "map"), ("detection", "map"), ("segmentation", "miou"))
}
"""Of the ledger, though no task here has their rules."""
SIZES = {"t": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge"}
NEEDED = ("method", "backbone", "protocol", "metric", "value", "source")
EPOCHS = r"\d+ep"
"""A shorter schedule of a protocol that has numbers of its own, such as 25ep."""

Kind = Literal["published", "imported"]


@dataclass(frozen=True)
class Reference:
    """One number of others: a line of the ledger, or of a file that a user brought in."""

    method: str
    """How the encoder was made; what is in parentheses tells versions of one method apart."""
    backbone: str
    """Size, such as vit_b16; @448 behind it is another image size than the protocol's."""
    pretrain_data: str
    pretrain_epochs: float | None
    protocol: str
    """A metric's `protocol`; behind an @ what the number has apart from its usual rules."""
    metric: str
    value: float
    source: str
    location: str
    note: str
    kind: Kind = "published"

    @property
    def arch(self) -> str:
        """The encoder's size as recipes call it."""
        return arch_of(self.backbone)

    @property
    def rules(self) -> str:
        """The protocol with all that its number has apart: cells of the same rules compare."""
        name, _, apart = self.protocol.partition("@")
        size = self.backbone.partition("@")[2]
        return rules(name, apart, f"image size {size}" if size else "")

    @property
    def unit(self) -> str:
        """The unit of its metric."""
        return metrics_of_protocols()[self.protocol.partition("@")[0]][self.metric].unit

    @property
    def place(self) -> str:
        """Where it is written."""
        return ", ".join(filter(None, [self.source, self.location]))

    @property
    def origin(self) -> str:
        """What encoders of that method have as their origin, such as moco_v3."""
        return word(self.method)


COLUMNS = tuple(field.name for field in fields(Reference) if field.name != "kind")


def published() -> tuple[Reference, ...]:
    """Return every number of the package's ledger, in its order."""
    return _ledger(LEDGER.read_text("utf-8"))


def read_references(text: str, name: str, kind: Kind) -> tuple[Reference, ...]:
    """Return the numbers in a CSV file's text; `name` is what messages call it.

    Raises ValueError naming line, column, value and what is allowed.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_header(reader.fieldnames or (), name)
        found: dict[tuple[object, ...], tuple[int, Reference]] = {}
        for values in reader:
            where = f"{name}, line {reader.line_num}"
            one = _reference(_cells(values, where), where, kind)
            same = (one.method, one.backbone, one.pretrain_data, one.pretrain_epochs, one.protocol)
            identity = (*same, one.metric, one.source)
            if identity in found:
                raise ValueError(
                    f"{where}: the same number of the same source as in line {found[identity][0]}; "
                    "leave one out, or name the source of each"
                )
            found[identity] = (reader.line_num, one)
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num}: no CSV ({error})") from error
    if not found:
        raise ValueError(f"{name} has no line below its header; give at least one number")
    return tuple(one for _, one in found.values())


def rules(protocol: str, *apart: str) -> str:
    """Return a protocol with what a number has apart from its usual rules, such as 25ep."""
    parts = ", ".join(filter(None, apart))
    return f"{protocol}@{parts}" if parts else protocol


def arch_of(backbone: str) -> str:
    """Return the encoder size of a backbone: vit_b16 is vit_base_patch16; others as they are."""
    name = backbone.partition("@")[0]
    short = re.fullmatch(r"vit_([tsblh])(\d+)", name)
    return f"vit_{SIZES[short[1]]}_patch{short[2]}" if short else name


def word(method: str) -> str:
    """Return a method's name without what is in parentheses, as origins are written: moco_v3."""
    return re.sub(r"\s*\([^)]*\)", "", method).strip().lower().replace(" ", "_")


@functools.cache
def metrics_of_protocols() -> Mapping[str, Mapping[str, Metric]]:
    """Return protocol -> name -> metric, of all tasks and of others' protocols."""
    known: dict[str, dict[str, Metric]] = {}
    for task in TASKS:
        for metric in load(task).metrics:
            if metric.protocol:
                known.setdefault(metric.protocol, {})[metric.name] = metric
    return known | {name: {metric.name: metric} for name, metric in OTHER_PROTOCOLS.items()}


@functools.cache
def _ledger(text: str) -> tuple[Reference, ...]:
    """Return the ledger's numbers, read once."""
    return read_references(text, LEDGER.name, "published")


def _check_header(names: Iterable[str], name: str) -> None:
    """Raise ValueError for a column that is unknown, missing or there twice."""
    header = list(names)
    for sign, called in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and sign in header[0]:
            raise ValueError(
                f"{name}, line 1: cells are parted by {called}, but must be by commas; save it "
                "again as CSV with commas, and texts that hold one in quotes"
            )
    for one in header:
        if one not in COLUMNS:
            raise ValueError(f"{name}, line 1: {unknown('column', one, COLUMNS)}")
        if header.count(one) > 1:
            raise ValueError(f"{name}, line 1: column {one} is there twice; leave one out")
    missing = [one for one in NEEDED if one not in header]
    if missing:
        raise ValueError(
            f"{name}, line 1: no column {', '.join(missing)}; the header must have "
            f"{', '.join(NEEDED)}, and may have the other columns of published.csv"
        )


def _cells(values: Mapping[str | None, str | list[str] | None], where: str) -> dict[str, str]:
    """Return a line's texts without spaces around them; every needed one is there."""
    if None in values or None in values.values():
        raise ValueError(
            f"{where}: another number of cells than the header has; put texts with commas in quotes"
        )
    cells = {str(name): " ".join(str(text).split()) for name, text in values.items()}
    for name in NEEDED:
        if not cells[name]:
            raise ValueError(f"{where}, {name}: empty; every number needs one")
    return dict.fromkeys(COLUMNS, "") | cells


def _reference(cells: dict[str, str], where: str, kind: Kind) -> Reference:
    """Return the number of a line; ValueError where a cell is none that can be matched."""
    _check_backbone(cells["backbone"], f"{where}, backbone")
    metric = _metric(cells["protocol"], cells["metric"], where)
    value = _number(cells["value"], f"{where}, value")
    try:
        metric.check(value)
    except ValueError as error:
        raise ValueError(f"{where}, value: {error}") from error
    text = cells["pretrain_epochs"]
    epochs = _number(text, f"{where}, pretrain_epochs") if text else None
    if epochs is not None and epochs < 0:
        raise ValueError(f"{where}, pretrain_epochs: must be >= 0 or empty, got {text}")
    texts = {name: cells[name] for name in COLUMNS if name not in ("value", "pretrain_epochs")}
    return Reference(**texts, value=value, pretrain_epochs=epochs, kind=kind)


def _check_backbone(backbone: str, where: str) -> None:
    """Raise ValueError unless it is a known size, with an image size behind an @ if any."""
    _, at, size = backbone.partition("@")
    arch = arch_of(backbone)
    if arch not in (*ARCHS, *OTHER_BACKBONES):
        raise ValueError(f"{where}: {unknown('backbone', arch, (*ARCHS, *OTHER_BACKBONES))}")
    if at and not re.fullmatch(r"[1-9]\d*", size):
        raise ValueError(f"{where}: behind the @ must be an image size in pixels, got {size!r}")


def _metric(protocol: str, name: str, where: str) -> Metric:
    """Return the metric that a line is of; ValueError unless its protocol has one of that name."""
    base, at, apart = protocol.partition("@")
    known = metrics_of_protocols()
    if base not in known:
        raise ValueError(f"{where}, protocol: {unknown('protocol', base, known)}")
    if at and not re.fullmatch(rf"{EPOCHS}|[a-z_ ]+ \S+(, [a-z_ ]+ \S+)*", apart):
        raise ValueError(
            f"{where}, protocol: behind the @ must be epochs, such as 25ep, or fields with their "
            f"values, such as image size 448, got {apart!r}"
        )
    if name not in known[base]:
        raise ValueError(f"{where}, metric: {unknown(f'metric of {base}', name, known[base])}")
    return known[base][name]


def _number(text: str, where: str) -> float:
    """Return a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: must be a number such as 83.6, got {text!r}")
    return value
