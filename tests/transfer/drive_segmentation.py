"""drive_task.py for mmsegmentation, whose import takes seconds that no child should spend again."""

import importlib

import drive_task

from transfer.mmseg_adapter.toolbox import import_mmseg

if __name__ == "__main__":
    import_mmseg()
    for name in ("training", "evaluation", "resolved"):
        importlib.import_module(f"transfer.mmseg_adapter.{name}")
    drive_task.main()
