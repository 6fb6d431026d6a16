"""Whether images and label maps in ADE20K's layout can be trained on."""

import os
from collections.abc import Iterator
from pathlib import Path

from mae_bench.kit.audit.pictures import Pair, pair_faults
from mae_bench.kit.audit.problems import Fault, Progress, inspected, within_budget
from mae_bench.kit.layouts import ade_class_names, image_suffix

LABELS = ".png"
"""The only suffix of label maps that is read; images may have any, all of a split the same."""


def ade20k_faults(root: Path, first_label: int, progress: Progress) -> Iterator[Fault]:
    """Yield everything that is wrong with both splits.

    `first_label` is that of the first class: 1, as in ADE20K, or 0.
    """
    try:
        highest = first_label + len(ade_class_names(root)) - 1
    except ValueError as error:
        yield Fault("class lists that cannot be read", str(error))
        return
    for split in ("training", "validation"):
        folders = [root / kind / split for kind in ("images", "annotations")]
        absent = [folder for folder in folders if not folder.is_dir()]
        if absent:
            yield from (Fault("missing folders", str(folder)) for folder in absent)
            continue
        try:
            kind = image_suffix(folders[0])
        except ValueError as error:
            yield Fault("folders of images of several kinds", str(error))
            continue
        images, labels = (
            {
                Path(entry.name).stem
                for entry in os.scandir(folder)
                if Path(entry.name).suffix == suffix
            }
            for folder, suffix in zip(folders, (kind, LABELS), strict=True)
        )
        for stem in sorted(images - labels):
            yield Fault("images without a label map", f"{folders[0] / stem}{kind}")
        for stem in sorted(labels - images):
            yield Fault("label maps without an image", f"{folders[1] / stem}{LABELS}")
        pairs = [
            Pair(folders[0] / f"{stem}{kind}", folders[1] / f"{stem}{LABELS}", highest)
            for stem in sorted(images & labels)
        ]
        found = inspected(pair_faults, pairs, progress)
        yield from within_budget(found, len(pairs)) if split == "training" else found
