"""Writes a run's curves as TensorBoard's event files: tensorboard --logdir STORE."""

from collections.abc import Mapping
from time import time as now

from mae_bench.core.tracker import Status, TrackedRun

PACKAGE = "tensorboard"
FOLDER = "tensorboard"


class Curves:
    """The run's folder of event files; torch is not needed for it."""

    def __init__(self, run: TrackedRun) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(run.folder / FOLDER))

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        """Write an event."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self.writer.add_event(Event(wall_time=time, step=step, summary=Summary(value=scalars)))
        self.writer.flush()

    def finish(self, step: int, metrics: Mapping[str, float], status: Status) -> None:
        """Write the metrics as points at the last step."""
        if metrics:
            self.log(step, metrics, now())
        self.writer.close()
