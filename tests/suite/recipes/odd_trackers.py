"""Trackers as other people may bring them: one that remembers, and some that fail in all ways."""

import json
import os
import signal
import threading

PAGE = "x" * 99 + "\n"


class Remembering:
    """Writes down what it is told."""

    def __init__(self, run):
        run.own.mkdir(exist_ok=True)
        self.path = run.own / "told.jsonl"
        about = {name: getattr(run, name) for name in ("key", "name", "row", "recipe", "seed")}
        self.write(opened=about | {"resumed": run.resumed, "config": dict(run.config)})

    def write(self, **line):
        with self.path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def log(self, step, values, time):
        self.write(step=step, values=values, time=time)

    def finish(self, step, metrics, status):
        self.write(finished=status, step=step, metrics=metrics)


class HangingAtOpen:
    def __init__(self, run):
        run.own.mkdir(exist_ok=True)
        hang(run.own)


class Raising(Remembering):
    def log(self, step, values, time):
        raise ConnectionError("the server is down")


class Blocking(Remembering):
    def log(self, step, values, time):
        hang(self.path.parent)


class Dying(Remembering):
    def log(self, step, values, time):
        os.kill(os.getpid(), signal.SIGKILL)


class Shouting(Remembering):
    def log(self, step, values, time):
        for _ in range(50_000):
            print(PAGE, end="")


class EatingTheEnd(Remembering):
    def finish(self, step, metrics, status):
        hang(self.path.parent)


def hang(own):
    """Never return, whatever signal comes; leave the process's id."""
    (own / "pid").write_text(str(os.getpid()))
    while True:
        threading.Event().wait()
