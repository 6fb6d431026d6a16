import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mae_bench.core.demo_data import DemoData
from mae_bench.core.job import Job
from mae_bench.report.document import Words, details, document
from mae_bench.report.published import Reference
from mae_bench.report.write import gathered
from mae_bench.suite.plan import Plan, plan
from mae_bench.suite.store import Store
from mae_bench.suite.suite import Column, Row, Suite, made_row

SEEDS = (0, 1)
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage")
"""Of the browser: root may not have the one, and a container has too little of the other."""
FINETUNE, LINEAR, COCO = "imagenet_finetune", "imagenet_linear", "coco_vitdet"


def made_by(job: Job) -> dict[str, str]:
    """Return size and origin of the job's encoder, as a run notes them; nothing of a file."""
    while isinstance(job.source, Job):
        job = job.source
    return {} if job.source else {"arch": job.recipe.arch, "origin": job.recipe.name}  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Bench:
    """A planned suite and a store that a test fills by hand."""

    plan: Plan
    store: Store

    def jobs(self, row: str, task: str) -> tuple[Job, ...]:
        return next(c.jobs for c in self.plan.cells if (c.row, c.task) == (row, task))

    def finish(self, job: Job, metrics: dict[str, float], /, **changes: Any) -> None:
        """Write the job's result.json as the runner would."""
        folder = self.store.dir(job)
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"encoder": {"params": 807_936, "flops": 52_000_000, **made_by(job)}}
        content = {
            "schema": 1,
            "key": job.key,
            "metrics": metrics,
            "seconds": 12.5,
            "provenance": {"versions": {"torch": "2.11.0"}, "git": "abc1234", "facts": facts},
        }
        (folder / "result.json").write_text(json.dumps(content | changes))

    def fail(self, job: Job, message: str) -> None:
        """Write the job's failure.json as the runner would."""
        folder = self.store.dir(job)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failure.json").write_text(json.dumps({"message": message, "traceback": ""}))

    def fill(self, row: str, task: str, *values: float) -> None:
        """Finish the cell's jobs, one value a seed, for every metric of the job's recipe."""
        for job, value in zip(self.jobs(row, task), values, strict=True):
            self.finish(job, {metric.name: value for metric in job.recipe.metrics})


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    """Return a maker of benches from rows and columns."""

    def make(rows: tuple[Row, ...], columns: tuple[Column, ...], name: str = "trial") -> Bench:
        suite = Suite(name, rows, columns, SEEDS, DemoData())
        return Bench(
            plan(suite, dict.fromkeys(("imagenet", "coco", "ade20k"), "data")),
            Store(tmp_path / "runs"),
        )

    return make


@pytest.fixture
def one(bench: Callable[..., Bench]) -> Bench:
    """Return one encoder on COCO with its numbers there: a report with little to draw."""
    made = bench((made_row("MAE", "mae", "demo", {}),), (Column(COCO, "demo", seeds=(0,)),))
    made.fill("MAE", COCO, 21.0)
    return made


@pytest.fixture
def documented() -> Callable[..., dict[str, Any]]:
    """Return a function: a bench and numbers of others -> the document, without any figure."""

    def make(bench: Bench, *references: Reference) -> dict[str, Any]:
        numbers = gathered(bench.plan, bench.store, None, references)
        words = Words(bench.plan.name, "mae-bench run", "How to read it.", ["A note."])
        return document(words, numbers, details(numbers.jobs, bench.plan, bench.store), [])

    return make


@pytest.fixture
def three(bench: Callable[..., Bench]) -> Bench:
    """Return MAE, supervised and random init on fine-tuning, probing and COCO; nothing is run."""
    return bench(
        (
            made_row("MAE", "mae", "demo", {}),
            made_row("Sup", "supervised", "demo", {}, seeds="each", own=(FINETUNE,)),
            made_row("Rand", "random_init", "demo", {}, seeds="each"),
        ),
        (Column(FINETUNE, "demo"), Column(LINEAR, "demo"), Column(COCO, "demo", seeds=(0,))),
    )


@pytest.fixture
def filled(three: Bench) -> Bench:
    """Return the same with every number there."""
    numbers = {
        "MAE": ((80.0, 82.0), (60.0, 63.0), (21.0,)),
        "Sup": ((76.0, 77.0), (62.0, 62.5), (20.0,)),
        "Rand": ((79.5, 82.5), (30.0, 34.0), (22.0,)),
    }
    for row, cells in numbers.items():
        for task, values in zip((FINETUNE, LINEAR, COCO), cells, strict=True):
            three.fill(row, task, *values)
    return three


@pytest.fixture
def stored(filled: Bench) -> Bench:
    """Return the filled bench with what a run writes of each job before it starts."""
    for job in filled.plan.jobs:
        filled.store.prepare(job, None)
    return filled


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Return Debian's browser without a window."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    assert path is not None, "no chromium here; make test-browser installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return what opens a page's file; a page that asks for or complains of anything fails it."""
    trouble: list[str] = []
    contexts = []

    def open_file(file: Path, address: str = "", **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
        contexts.append(context)
        shown = context.new_page()
        url = file.resolve().as_uri()
        shown.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
        shown.on("pageerror", lambda error: trouble.append(str(error)))
        shown.on("request", lambda request: check(request.url))
        shown.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error(e.violatedDirective))"
        )

        def check(asked: str) -> None:
            if asked.partition("#")[0] != url and not asked.startswith("data:image/"):
                trouble.append(f"request: {asked}")

        shown.goto(url + address)
        return shown

    yield open_file
    for context in contexts:
        context.close()
    assert trouble == []
