"""Data sets: make the demo's, check a folder's layout."""

from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Literal

import tyro

from mae_bench.cli import OK, PREFLIGHT, USAGE
from mae_bench.commands.options import parse
from mae_bench.commands.run import DataProgress
from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.core.recipe import unknown
from mae_bench.core.site import DATASETS


@dataclass(frozen=True, kw_only=True)
class MakeDemo:
    """Make procedural scenes in the layouts of ImageNet, COCO, ADE20K and VOC."""

    sizes: DemoData = field(default_factory=DemoData)


@dataclass(frozen=True)
class Shard:
    """What to pack, and where to."""

    source: tyro.conf.Positional[Path]
    """Folder with train/<class>/ and val/<class>/."""
    target: tyro.conf.Positional[Path]
    """Folder for train/train-000000.tar and so on."""
    images_per_shard: int = 5000
    """Images in one tar file; 5000 of ImageNet are about 550 MB."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Print what is wrong with a data set: its folders, then what is in its files."""

    first_label: Literal[0, 1] = 1
    """Label of the first class in label maps like ADE20K's; 0 for reduce_zero_label False."""
    train_list: Literal["train", "trainaug"] = "train"
    """List of VOC's images that a segmenter is trained on."""


def data(words: list[str]) -> int:
    """Run `data make-demo`, `data shard` or `data check`; return the exit code."""
    if not words or words[0] in ("-h", "--help"):
        print(
            "usage: mae-bench data make-demo DIR [--seed N] [--num-train-images N] ...\n"
            "       mae-bench data shard SOURCE TARGET [--images-per-shard N]\n"
            f"       mae-bench data check {{{','.join(DATASETS)}}} DIR [PART ...]\n"
            "           [--first-label 0] [--train-list trainaug]\n"
        )
        print("Example: mae-bench data check imagenet /data/imagenet")
        return OK if words else USAGE
    actions = {"make-demo": make_demo_data, "shard": shard_data, "check": check_data}
    if words[0] not in actions:
        raise ValueError(unknown("action of data", words[0], actions))
    return actions[words[0]](words[1:])


def make_demo_data(words: list[str]) -> int:
    """Make the demo data in a folder; what is finished stays as it is."""
    from mae_bench.kit.scene_files import make_demo
    from mae_bench.kit.voc_scenes import add_voc

    folder = [word for word in words[:1] if not word.startswith("-")]
    options = parse(MakeDemo, "data make-demo DIR", words[len(folder) :], MakeDemo.__doc__ or "")
    if not folder:
        raise ValueError("data make-demo needs a folder: mae-bench data make-demo DIR")
    root = Path(folder[0])
    root.parent.mkdir(parents=True, exist_ok=True)
    make_demo(root, options.sizes, DataProgress("demo data"))
    add_voc(root, options.sizes, DataProgress("demo VOC"))
    for name, path in demo_roots(root).items():
        print(f"{name}: {path}")
    return OK


def shard_data(words: list[str]) -> int:
    """Pack an ImageNet folder into tar shards, which a network file system reads faster."""
    from mae_bench.kit.shards import make_shards

    about = (shard_data.__doc__ or "") + "\n\nTARGET can then stand for the folder everywhere."
    options = parse(Shard, "data shard", words, about)
    if options.images_per_shard < 1:
        raise ValueError(f"--images-per-shard must be >= 1, got {options.images_per_shard}")
    progress = DataProgress("packing")
    made = make_shards(options.source, options.target, options.images_per_shard, progress)
    print(f"imagenet: {options.target} ({len(made)} shards)")
    return OK


def check_data(words: list[str]) -> int:
    """Print what is wrong with a data set: its folders, then what is in its files.

    Returns 3 if jobs could not run on it; what training leaves out or clips is only printed.
    """
    from mae_bench.kit.audit.audit import AUDITS, Wanted, audit
    from mae_bench.kit.layouts import PARTS, check

    given = list(takewhile(lambda word: not word.startswith("-"), words))
    options = parse(Check, "data check SET DIR", words[len(given) :], Check.__doc__ or "")
    if len(given) < 2:
        raise ValueError(f"data check takes a data set and a folder, got {' '.join(words)!r}")
    name, root, parts = given[0], Path(given[1]), tuple(given[2:])
    if name not in DATASETS:
        raise ValueError(unknown("data set", name, DATASETS))
    for part in parts:
        if part not in PARTS.get(name, ()):
            raise ValueError(unknown(f"part of {name}", part, PARTS.get(name, ())))
    wrong = check(name, root, parts)
    look = name in AUDITS and root.is_dir()
    wanted = Wanted(name, root, parts, options.first_label, options.train_list)
    found = audit(wanted, DataProgress("looked at")) if look else ()
    for text in [*wrong, *(problem.text for problem in found)]:
        print(text)
    if wrong or any(problem.fatal for problem in found):
        return PREFLIGHT
    print(f"{name}: {root} is whole")
    return OK
