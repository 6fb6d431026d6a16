"""Checkpoints of our own training: whole, checked by content, the newest valid one is used."""

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
        """Write the state after `step` steps, then remove all but the newest `keep`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        torch.save(state, stream)
        content = stream.getvalue()
        digest = hashlib.sha256(content).hexdigest()[:16]
        write_bytes(self.folder / f"step-{step:09d}-{digest}.pt", content)
        for old in self._files()[self.keep :]:
            old.unlink()

    def newest(self) -> dict[str, Any] | None:
        """Return the newest state whose content is whole, or None; damaged files are set aside."""
        for path in self._files():
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest()[:16] == path.stem.rsplit("-", 1)[-1]:
                state: dict[str, Any] = torch.load(
                    io.BytesIO(content), map_location="cpu", weights_only=True
                )
                return state
            path.rename(path.with_suffix(".damaged"))
            log.warning("checkpoint %s is damaged: set aside, using an older one", path.name)
        return None

    def _files(self) -> list[Path]:
        """Return the checkpoints, newest first."""
        return sorted(self.folder.glob("step-*.pt"), reverse=True)
