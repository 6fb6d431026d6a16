"""What docs/cluster.md shows is what the program reads."""

import re
from dataclasses import fields
from pathlib import Path

import yaml

from mae_bench.core.site import read_site
from mae_bench.core.slurm import Slurm
from mae_bench.core.turns import BUSY
from mae_bench.kit.pace import REQUEUE
from mae_bench.suite.execute import DONE, FAILED
from mae_bench.suite.nodes import NODE, NODES, START

TEXT = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_site_file_of_the_page_is_read_as_it_says(tmp_path):
    path = tmp_path / "site.toml"
    (text,) = blocks("toml")
    path.write_text(text)
    slurm = read_site(path).slurm
    assert slurm.of("mae").gpus_per_node == 8
    assert (slurm.of("coco_vitdet").nodes, slurm.of("coco_vitdet").partition) == (4, "gpu")
    assert slurm.of("random_init").gres == ""


def test_the_jobs_for_another_scheduler_start_the_program_and_know_its_codes():
    one, several = (yaml.safe_load(block) for block in blocks("yaml"))
    assert (one["kind"], several["kind"]) == ("Job", "JobSet")
    nested = several["spec"]["replicatedJobs"][0]["template"]["spec"]
    for job in (one["spec"], nested):
        pod = job["template"]["spec"]
        assert pod["restartPolicy"] == "Never"
        (container,) = pod["containers"]
        assert container["command"][:3] == ["python", "-m", "mae_bench.suite.execute"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        codes = {
            code: rule["action"]
            for rule in job["podFailurePolicy"]["rules"]
            for code in rule.get("onExitCodes", {}).get("values", [])
        }
        assert codes[FAILED] == "FailJob"
        assert codes.get(REQUEUE, "Ignore") == "Ignore"
    given = {each["name"] for each in nested["template"]["spec"]["containers"][0]["env"]}
    assert {NODES, NODE, START} <= given
    assert nested["completions"] == nested["parallelism"] == 4


def test_the_page_names_every_exit_code_and_setting():
    for code in (DONE, FAILED, REQUEUE, BUSY):
        assert f"| {code} |" in TEXT
    for field in fields(Slurm):
        assert f"`{field.name}`" in TEXT
