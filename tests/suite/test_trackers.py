"""The trackers that come with mae-bench, against their packages where those are installed."""

import shutil
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import pytest

from mae_bench.core.files import append_metrics
from mae_bench.core.tracker import TRACKERS, known, problem

PACKAGES = {name: import_module(known()[name].module).PACKAGE for name in TRACKERS}
HERE = [name for name, package in PACKAGES.items() if find_spec(package)]
LOSSES = {1: 4.0, 2: 2.0, 3: 1.0, 4: 0.5}


def read_tensorboard(folder):
    """Return {name: {step: value}} of all that was recorded; every point must be there once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    found = {}
    for name in events.Tags()["scalars"]:
        points = [(event.step, event.value) for event in events.Scalars(name)]
        found[name] = dict(points)
        assert len(points) == len(found[name])
    return found, {}


def read_mlflow(folder):
    """Return the same of MLflow's database in the store, and the run's parameters."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'mae-bench'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["mae_bench.key"] == folder.name
    assert run.info.status == "FINISHED"
    found = {}
    for name in run.data.metrics:
        points = [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]
        found[name] = dict(points)
        assert len(points) == len(found[name])
    return found, run.data.params


def read_trackio(folder):
    """Return the same of trackio's own store."""
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = Api().runs("mae-bench")
    assert run.name.endswith(folder.name)
    found = {}
    for line in SQLiteStorage.get_logs("mae-bench", run.name):
        for name, value in line.items():
            if isinstance(value, int | float) and name != "step":
                assert line["step"] not in found.setdefault(name, {})
                found[name][line["step"]] = value
    return found, run.config


def records_in(path):
    """Yield the records of a run's file of W&B, a log in LevelDB's format behind 7 bytes."""
    content, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        size = int.from_bytes(content[at + 4 : at + 6], "little")
        if left < 7 or content[at + 6] == 0:
            at += left
            continue
        record += content[at + 7 : at + 7 + size]
        if content[at + 6] in (1, 4):  # the whole, or its last part
            yield record
            record = b""
        at += 7 + size


def read_wandb(folder):
    """Return the same of the files of an offline run, of all its sessions."""
    from wandb.proto.wandb_internal_pb2 import Record

    found, config, summary = {}, {}, {}
    paths = sorted((folder / "trackers" / "wandb").glob("wandb/offline-run-*/*.wandb"))
    for record in (Record.FromString(one) for path in paths for one in records_in(path)):
        if record.HasField("run"):
            assert record.run.run_id == folder.name
            config |= {one.key: one.value_json for one in record.run.config.update}
        for one in record.history.item:
            points = found.setdefault(one.key or one.nested_key[0], {})
            assert record.history.step.num not in points
            points[record.history.step.num] = float(one.value_json)
        for one in record.summary.update:
            summary[one.key or one.nested_key[0]] = one.value_json
    assert summary["status"] == '"done"'
    return found | {"result/score": {max(found["loss"]): float(summary["result/score"])}}, config


READERS = {
    "tensorboard": read_tensorboard,
    "wandb": read_wandb,
    "mlflow": read_mlflow,
    "trackio": read_trackio,
}


@pytest.mark.parametrize("name", HERE)
def test_a_run_told_in_two_parts_is_one_run_with_every_point_once(
    three, call, tmp_path, monkeypatch, name
):
    for variable, value in {"WANDB_MODE": "offline", "TRACKIO_DIR": str(tmp_path / "t")}.items():
        monkeypatch.setenv(variable, value)
    folder = tmp_path / "runs" / three["Good", "counting"]
    (folder / "metrics.jsonl").unlink()
    told = partial(call, "track", folder.name, "--to", name)
    result = folder / "result.json"
    shutil.move(result, tmp_path)
    for step in (1, 2, 3):
        append_metrics(folder, step=step, steps=4, loss=LOSSES[step])
    assert told().code == 0, (folder / "trackers" / f"{name}.txt").read_text()
    for step in (2, 3, 4):  # as an attempt that goes on from a checkpoint after step 1
        append_metrics(folder, step=step, steps=4, loss=LOSSES[step])
    shutil.move(tmp_path / "result.json", result)
    assert told().code == 0, (folder / "trackers" / f"{name}.txt").read_text()
    found, config = READERS[name](folder)
    assert found["loss"] == LOSSES
    assert found["result/score"] == {4: 50.0}
    if config:
        assert str(config["steps"]) == "5"
        assert "counting" in str(config["recipe"])


@pytest.mark.parametrize("name", TRACKERS)
def test_what_is_missing_is_named_with_the_command_that_installs_it(name):
    message = f"pip install 'mae-bench[{name}]'"
    assert problem(name).endswith(message) == (name not in HERE)
    assert bool(problem(name)) == (name not in HERE)
