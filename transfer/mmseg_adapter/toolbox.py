"""mmsegmentation, imported on machines with and without mmcv's compiled operators."""

import importlib
import logging
import sys
import types
from typing import Any


class AbsentOps(types.ModuleType):
    """Stands for mmcv's compiled operators, which mmcv-lite lacks and UperNet does not call."""

    def __getattr__(self, name: str) -> Any:
        """Return a callable that explains itself when called."""
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*args: Any, **kwargs: Any) -> None:
            raise ImportError(f"mmcv.ops.{name} needs the full mmcv; pip install 'mmcv>=2.0,<2.2'")

        return absent


def import_mmseg() -> types.ModuleType:
    """Return mmseg, with its compiled operators replaced by AbsentOps where they are missing."""
    try:
        importlib.import_module("mmcv.ops")
    except ImportError:
        sys.modules["mmcv.ops"] = AbsentOps("mmcv.ops")
    from mmengine.logging import MMLogger
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=True)
    MMLogger.get_current_instance().setLevel(logging.WARNING)  # it would list every tensor
    return importlib.import_module("mmseg")
