"""Options that several sub-commands share, and how they become a site."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tyro

from mae_bench.core.site import DATASETS, Site, read_site

SITE_FILE = Path("site.toml")
Options = TypeVar("Options")


@dataclass(frozen=True)
class Place:
    """Where data sets, results of jobs and this machine's facts are."""

    site: Path | None = None
    """TOML file with store, [data], [python], [compute] and [slurm]; default: site.toml here, if
    there is one."""
    store: Path | None = None
    """Folder of the jobs: checkpoints, logs, results. Default: runs."""
    imagenet: Path | None = None
    """Folder with train/ and val/, a folder for each class in both."""
    coco: Path | None = None
    """Folder with train2017/, val2017/ and annotations/."""
    ade20k: Path | None = None
    """The folder ADEChallengeData2016."""
    voc: Path | None = None
    """The folder VOCdevkit with VOC2007/, VOC2012/, or the one that a task needs."""
    imagenet_robustness: Path | None = None
    """Folder with imagenet-c/, imagenet-a/, imagenet-r/ and sketch/, or some of them."""

    def read(self) -> Site:
        """Return the site file's facts with the flags put over them."""
        file = self.site or (SITE_FILE if SITE_FILE.exists() else None)
        if file is not None and not file.is_file():
            raise ValueError(f"no site file {file}; pass --site FILE with an existing one")
        site = Site() if file is None else read_site(file)
        given = {name: getattr(self, name) for name in DATASETS if getattr(self, name)}
        return dataclasses.replace(
            site, store=self.store or site.store, data={**site.data, **given}
        )

    def words(self) -> list[str]:
        """Return the flags that were given, for a command that shall look at the same place."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return [
            word
            for name, value in given.items()
            if value is not None
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]


def parse(kind: type[Options], command: str, words: list[str], about: str) -> Options:
    """Return the options of a sub-command; tyro prints help and errors, and exits.

    Raises ValueError for one that is given twice, of which only the last would count.
    """
    names = [word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{name} is given {names.count(name)} times; pass it once, with all its values "
                f"behind it if it takes several: {name} A B"
            )
    options: Any = tyro.cli(
        kind,
        prog=f"mae-bench {command}",
        args=words,
        description=about,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
    return options  # type: ignore[no-any-return]
