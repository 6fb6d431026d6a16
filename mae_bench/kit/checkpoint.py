"""Checkpoints of our own training: whole, checked by content, the newest valid one is used."""

import errno
import hashlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mae_bench.core.files import write_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in one folder, named `step-<step>-<sha256 of the content>.pt`."""

    folder: Path
    keep: int = 2

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps, then remove all but the newest `keep`.

        Raises ValueError with the bytes needed if the disk is full; what was there stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        torch.save(state, stream)
        content = stream.getbuffer()
        digest = hashlib.sha256(content).hexdigest()[:16]
        try:
            write_bytes(self.folder / f"step-{step:09d}-{digest}.pt", content)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ValueError(
                f"no room for the checkpoint of step {step}: {len(content)} bytes needed in "
                f"{self.folder}; the one before is kept: free the space and start again"
            ) from error
        for path in self.folder.glob(f"step-{step:09d}-*.pt"):
            if digest not in path.name:  # of the same step, before the run went back to it
                path.unlink()
        for old in self._files()[self.keep :]:
            old.unlink()

    def newest_path(self) -> Path | None:
        """Return the newest checkpoint whose content is whole, None if there never was one.

        Damaged files are set aside; ValueError if all are damaged.
        """
        for path in self._files():
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
            if digest == path.stem.rsplit("-", 1)[-1]:
                return path
            path.rename(path.with_suffix(".damaged"))
            log.warning("checkpoint %s is damaged: set aside, using an older one", path.name)
        damaged = sorted(self.folder.glob("step-*.damaged"))
        if damaged:
            raise ValueError(
                f"every checkpoint in {self.folder} is damaged (the newest: {damaged[-1].name}); "
                "delete the folder to start from the beginning"
            )
        return None

    def read(self, path: Path) -> dict[str, Any]:
        """Return the state in a file; only tensors and plain values are unpickled."""
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    def newest(self) -> dict[str, Any] | None:
        """Return the newest whole state, or None."""
        path = self.newest_path()
        return None if path is None else self.read(path)

    def _files(self) -> list[Path]:
        """Return the checkpoints, newest first."""
        return sorted(self.folder.glob("step-*.pt"), reverse=True)
