import json

import pytest

from mae_bench.core.files import append_metrics
from mae_bench.suite.execute import execute
from mae_bench.suite.store import FAILURE, RESULT


def test_a_result_that_cannot_be_put_together_leaves_its_reason(build_suite, ground_of):
    ground = ground_of(build_suite())
    folder = ground.store.prepare(ground.plan.jobs[0], None)
    (folder / "facts.json").write_text("{")
    assert execute(folder) == 1
    assert "JSONDecodeError" in json.loads((folder / FAILURE).read_text())["message"]


@pytest.mark.parametrize(("outcome", "code"), [("fine", 0), ("raise", 1)])
@pytest.mark.parametrize("hindered", [False, True])
def test_a_job_leaves_its_loss_curve_but_never_fails_for_it(
    build_suite, ground_of, outcome, code, hindered
):
    ground = ground_of(build_suite({"Row": {"outcome": outcome}}))
    folder = ground.store.prepare(ground.plan.jobs[0], None)
    append_metrics(folder, step=1, steps=2, loss=2.0)
    if hindered:
        (folder / "figures").write_text("a file in the way")
    assert execute(folder) == code
    assert (folder / (FAILURE if code else RESULT)).exists()
    if hindered:
        facts = json.loads((folder / "facts.json").read_text())
        assert list(facts["undrawn"]) == ["loss.png"]
        if not code:
            result = json.loads((folder / RESULT).read_text())
            assert result["provenance"]["facts"] == facts
    else:
        assert (folder / "figures" / "loss.png").stat().st_size > 1000
