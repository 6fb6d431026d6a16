import re
import tomllib
from pathlib import Path

import pytest

from mae_bench.suite.track import AGAIN_S, MOST_BYTES, POLL_S
from mae_bench.suite.tracking import PARTING_S

DOC = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text()


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """Install the document's own tracker as its pyproject.toml says."""
    (code,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    (text,) = (one for one in re.findall(r"```toml\n(.*?)```", DOC, re.DOTALL) if "project" in one)
    project = tomllib.loads(text)["project"]
    about = tmp_path / "site" / f"{project['name'].replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\n")
    lines = [
        f"[{group}]\n{name} = {target}"
        for group, points in project["entry-points"].items()
        for name, target in points.items()
    ]
    (about / "entry_points.txt").write_text("\n".join(lines))
    (about.parent / "paper_log.py").write_text(code)
    monkeypatch.syspath_prepend(str(about.parent))
    monkeypatch.setenv("PYTHONPATH", str(about.parent), prepend=":")
    assert len(code.splitlines()) <= 20


def test_the_documents_own_tracker_does_what_it_says(paper, three, call, tmp_path):
    key = three["Good", "counting"]
    assert call("track", key, "--to", "paper").code == 0
    written = (tmp_path / "runs" / key / "trackers" / "paper" / "log.txt").read_text().splitlines()
    assert written[0] == "begins Good · counting · seed 0 counting"
    assert written[1:] == [*(f"{step} None" for step in range(1, 6)), "done {'result/score': 50.0}"]


def test_the_document_gives_the_times_that_hold():
    assert f"have {PARTING_S:.0f} seconds" in DOC
    assert f"after {POLL_S:.0f} s" in DOC
    assert (AGAIN_S, MOST_BYTES) == (60.0, 2**20)  # "at most a minute", "1 MiB"
