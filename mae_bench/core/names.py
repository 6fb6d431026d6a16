"""Names from outside that become files: they name one in its folder, or nothing is made."""

import re
from pathlib import Path

LONGEST = 100
"""Characters; file systems allow 255 bytes, and endings and digests come behind."""
NAME = re.compile(rf"\w[\w.+=@ -]{{0,{LONGEST - 1}}}")


def check_name(what: str, name: str) -> None:
    """Raise ValueError unless the name is a plain one: no path, no control or shell characters."""
    if not NAME.fullmatch(name) or name.endswith(" "):
        raise ValueError(
            f"{what} must begin with a letter, digit or _ and go on with these or . + = @ - and "
            f"spaces, at most {LONGEST} characters, got {name!r}"
        )


def check_own(folder: Path, where: str) -> None:
    """Raise ValueError if a folder of ours is a symbolic link, which could lead out of `where`."""
    if folder.is_symlink():
        raise ValueError(
            f"{folder} is a symbolic link to {folder.readlink()}: it must lie in {where} itself; "
            f"remove the link, or link the whole of {where} instead"
        )
