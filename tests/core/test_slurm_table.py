import pytest

from mae_bench.core.site import read_site
from mae_bench.core.slurm import Slurm, seconds_in


def site_of(folder, text):
    path = folder / "site.toml"
    path.write_text(text)
    return read_site(path)


def test_without_a_table_all_is_left_to_the_cluster(tmp_path):
    assert site_of(tmp_path, "").slurm.of("mae") == Slurm()


def test_a_recipe_has_its_own_values_over_the_common_ones(tmp_path):
    text = "[slurm]\npartition = 'gpu'\ntime = '24:00:00'\nextra = ['--exclude=n3']\n"
    slurm = site_of(tmp_path, f"{text}[slurm.coco_vitdet]\ntime = '3-00'\nnodes = 4\n").slurm
    assert slurm.of("mae") == Slurm(partition="gpu", time="24:00:00", extra=("--exclude=n3",))
    detector = slurm.of("coco_vitdet")
    assert (detector.partition, detector.time, detector.nodes) == ("gpu", "3-00", 4)


@pytest.mark.parametrize(
    "time", ["30", "30:00", "24:00:00", "2-12", "2-12:30", "2-12:30:10", "UNLIMITED", ""]
)
def test_every_way_of_the_scheduler_to_write_a_time_is_taken(time):
    assert Slurm(time=time).time == time


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("", None),
        ("infinite", None),
        ("30", 1800),
        ("30:15", 1815),
        ("1:30:15", 5415),
        ("2-12", 216000),
        ("2-12:30", 217800),
        ("2-12:30:10", 217810),
    ],
)
def test_a_time_has_as_many_seconds_as_the_scheduler_says(time, seconds):
    assert seconds_in(time) == seconds


@pytest.mark.parametrize(
    "line", ["-p gpu", "-w n1", "-x n3", "--exclude=n3 --export=NONE", "--comment='a --hold b'"]
)
def test_options_that_are_the_users_are_taken(line):
    assert Slurm(extra=(line,)).extra == (line,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[slurm]\npartiton = 'x'", "unknown key of [slurm] 'partiton'; did you mean 'partition'?"),
        ("[slurm.coco_vitde]\nnodes = 2", "did you mean 'coco_vitdet'?"),
        ("[slurm.mae]\nnode = 2", "unknown key of [slurm.mae] 'node'; did you mean 'nodes'?"),
        ("[slurm.mae]\npoll_s = 5", "[slurm.mae] cannot set poll_s"),
        ("[slurm]\nnodes = '2'", "slurm.nodes must be int, got '2'"),
        ("[slurm.mae]\nnodes = 0", "slurm.mae.nodes must be >= 1, got 0"),
        ("[slurm]\ntime = '24h'", "slurm.time must be such as 24:00:00 or 2-00:00:00, got '24h'"),
        ("[slurm]\nnotice_s = 30", "slurm.notice_s must be >= 60, since SLURM may be a minute off"),
        ("[slurm]\npartition = 'a b'", "slurm.partition must be made of letters"),
        ("[slurm]\naccount = 'a$(x)'", "slurm.account must be made of letters"),
        ("[slurm]\ncontainer = 'a \"b'", "slurm.container must be a command whose quotes close"),
        ('[slurm]\nsetup = ["a\\nb"]', "slurm.setup must be without line breaks"),
        ("[slurm]\nextra = ['exclude=n3']", "slurm.extra must hold options such as --exclude=n3"),
        ("[slurm]\nextra = ['--array=1-3']", "must not set --array (a job is one start)"),
        ("[slurm]\nextra = ['-t 5']", "must not set --time (set slurm.time), got '-t 5'"),
        ("[slurm]\nextra = ['--dep=singleton']", "must not set --dependency (the plan decides it)"),
        ("[slurm]\nextra = ['--o=x']", "must not set --output (it is log.txt"),
        ("[slurm]\nextra = ['--signal=B:USR1@9']", "must not set --signal (set slurm.notice_s)"),
        ("[slurm]\nextra = ['-M all']", "must not set --clusters (the queue of one cluster"),
        ("[slurm]\nextra = ['--test-only']", "must not set --test-only (nothing would be submit"),
        ("[slurm]\nextra = ['-H']", "must not set --hold (a run would wait for ever)"),
        ("[slurm]\nextra = ['--kill-on-invalid-dep=no']", "must not set --kill-on-invalid-dep"),
        ("[slurm]\nextra = ['-x n3 --hold']", "must not set --hold (a run would wait for ever)"),
        ("[slurm]\nextra = ['--comment=\"a']", "slurm.extra must hold options such as"),
        ("[slurm]\ntime = '2'", "slurm.notice_s must be less than slurm.time, which is 2, got 120"),
        ("[slurm]\ntime = '1'\n[slurm.mae]\ntime = '9'", "slurm.notice_s must be less than"),
        ("slurm = 3", "slurm must be a table [slurm], got 3"),
    ],
)
def test_a_mistake_is_named_with_the_file(tmp_path, text, message):
    with pytest.raises(ValueError, match=r"site\.toml") as error:
        site_of(tmp_path, text)
    assert message in str(error.value)
