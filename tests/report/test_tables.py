import re
from collections.abc import Callable
from typing import Any

import pytest

from mae_bench.report.latex import ESCAPES, escaped_latex, latex
from mae_bench.report.markdown import front_page, front_part, leaderboard_text
from mae_bench.report.published import published
from mae_bench.report.table import Cell, Table, interval, markdown, plain, three
from mae_bench.report.tables import (
    cost_table,
    difference_tables,
    job_table,
    main_tables,
    own_tables,
    terminal_table,
    twin_table,
)
from mae_bench.suite.suite import Column, made_row

LINEAR, FPN, VITDET, ADE = "imagenet_linear", "coco_maskrcnn_fpn", "coco_vitdet", "ade20k_upernet"
NASTY = r"<b>&amp; \input{x} $1_2^3 ~#%&{} |*x*| [y] `z` " + '"'


@pytest.fixture
def base(bench: Callable[..., Any]) -> Any:
    """Return MAE and supervised of a published size on four tasks, each number 50 or 51."""
    size = {"arch": "vit_base_patch16"}
    rows = (
        made_row("MAE", "mae", "published", size),
        made_row("Sup", "supervised", "published", size),
    )
    tasks = ("imagenet_finetune", LINEAR, FPN, VITDET, ADE)
    made = bench(rows, tuple(Column(task) for task in tasks))
    for job in made.plan.jobs:
        value = 50.0 + job.seed
        deviates = job.recipe.name == VITDET and job.row == "Sup"
        stamp = ["published without relative positions"] if deviates else "paper"
        made.finish(job, {metric.name: value for metric in job.recipe.metrics}, fidelity=stamp)
    return made


def names(table: Table) -> list[str]:
    return [line[0].text for line in table.lines]


def test_a_wide_table_is_one_for_each_data_set(base: Any, documented: Any) -> None:
    tables = main_tables(documented(base))
    assert {title: table.headings[2:-3] for title, table in tables.items()} == {
        "ImageNet": ("fine-tune top-1 (%)", "linear top-1 (%)"),
        "COCO": (
            "COCO box AP (FPN) (%)",
            "COCO mask AP (FPN) (%)",
            "COCO box AP (%)",
            "COCO mask AP (%)",
        ),
        "ADE20K": ("ADE20K mIoU (%)",),
    }


def test_a_row_is_set_apart_only_where_it_deviates(base: Any, documented: Any) -> None:
    tables = main_tables(documented(base))
    assert [(line[0].text, line[1].text) for line in tables["ImageNet"].lines] == [
        ("MAE", "paper"),
        ("Sup", "paper"),
    ]
    coco = tables["COCO"]
    assert [(line[0].text, line[1].text) for line in coco.lines if len(line) > 1] == [
        ("MAE", "paper"),
        ("Sup", "deviates (1)"),
    ]
    assert names(coco) == ["MAE", "Not run as published", "Sup"]
    assert coco.kinds == ("ours", "heading", "ours")


def test_others_stand_in_the_tables_where_they_have_numbers(base: Any, documented: Any) -> None:
    document = documented(base, *published())
    tables = main_tables(document)
    assert "DINO vit_b16, 300 epochs (Caron et al. 2021 (DINO))" in names(tables["ImageNet"])
    assert "DINO vit_b16, 300 epochs (Caron et al. 2021 (DINO))" not in names(tables["COCO"])
    assert "| *random init vit\\_b16 (Li et al. 2021)* | *published* | *48.9* |  |" in markdown(
        tables["COCO"]
    )
    assert names(own_tables(document)["ADE20K"]) == ["MAE", "Sup"]


def test_a_number_stands_over_its_interval_in_markdown_and_alone_in_a_terminal(
    base: Any, documented: Any
) -> None:
    document = documented(base, *published())
    # two seeds, 50 and 51: t = 12.706, 50.5 ± 12.706 / 2
    assert "50.5 ± 0.7<br><sub>\\[44.1, 56.9\\]</sub>" in leaderboard_text(document)
    text = plain(terminal_table(document))
    assert "50.5 ± 0.7 (−33.1)" in text and "44.1" not in text and "DINO" not in text


def test_each_published_twin_is_listed_with_all_its_digits(base: Any, documented: Any) -> None:
    assert twin_table(documented(base)) is None
    table = twin_table(documented(base, *published()))
    assert table is not None
    lines = {(line[0].text, line[1].text): [cell.text for cell in line] for line in table.lines}
    assert lines["MAE", "linear top-1 (%)"][2:6] == ["50.5 ± 0.7", "68.0", "−17.5", "outside noise"]
    assert lines["MAE", "ADE20K mIoU (%)"][3:7] == [
        "48.1",
        "+2.4",
        "within noise",
        "He et al. 2021, arXiv 2111.06377, Table 5",
    ]


def test_differences_are_bold_where_they_are_settled(filled: Any, documented: Any) -> None:
    document = documented(filled)
    for cell in document["cells"]:
        cell["delta_random_p"] = 0.01 if cell["row"] == "MAE" else 0.06
    table = difference_tables(document)["random init"]
    bold = {line[0].text: {cell.best for cell in line[1:] if cell.text} for line in table.lines}
    assert bold == {"MAE": {True}, "Sup": {False}}


def test_a_long_reason_is_cut_in_tables_alone(filled: Any, documented: Any) -> None:
    job = filled.jobs("MAE", VITDET)[0]
    (filled.store.dir(job) / "result.json").unlink()
    filled.fail(job, "RuntimeError: " + "x" * 400)
    document = documented(filled)
    (text,) = (line[3].text for line in job_table(document).lines if line[5].text == job.key)
    assert len(text) == 160 and text.endswith("…")
    assert any(len(one["reason"]) > 400 for one in document["jobs"])


def test_intervals_have_the_digits_of_their_number() -> None:
    assert interval(-1.26, 3.0, 1) == "[−1.3, 3.0]"
    assert interval(-0.04, 0.04, 1) == "[0.0, 0.0]"
    assert interval(None, None, 1) == ""


def test_sizes_have_three_digits_that_matter() -> None:
    assert [three(size) for size in (0.0574, 0.826, 86.57, 304.3)] == [
        "0.0574",
        "0.826",
        "86.6",
        "304",
    ]


def test_latex_sets_every_character_as_it_is() -> None:
    shown = escaped_latex(NASTY)
    bare = re.sub(r"\\(?:[a-z]+\d*\{\}|[{}$&#%_])", "", shown)
    assert not set(bare.replace("{[}", "").replace("{]}", "").replace("{*}", "")) & set(
        r"\$&#%_^~{}"
    )
    back = {text: letter for letter, text in ESCAPES.items()}
    pattern = "|".join(map(re.escape, sorted(back, key=len, reverse=True)))
    assert re.sub(pattern, lambda found: back[found[0]], shown) == NASTY


def test_latex_has_whole_tables_whatever_the_names(
    bench: Callable[..., Any], documented: Any
) -> None:
    nasty = bench((made_row(NASTY, "mae", "demo", {}),), (Column(LINEAR, "demo"),))
    nasty.fill(NASTY, LINEAR, 50.0, 51.0)
    text = latex(documented(nasty))
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    inside: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", "\n".join(lines)):
        if kind == "begin":
            inside.append(name)
        else:
            assert inside.pop() == name
    assert inside == []
    unescaped = re.sub(r"\\[{}]", "", "\n".join(lines))
    assert unescaped.count("{") == unescaped.count("}")
    columns = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1])
    rows = [line for line in lines if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [columns - 1] * len(rows)


def test_latex_has_others_in_grey_and_a_heading_over_what_deviates(
    base: Any, documented: Any
) -> None:
    text = latex(documented(base, *published()))
    assert r"\textcolor{gray}{random init vit\_b16 (Li et al. 2021)}" in text
    assert r"\midrule \multicolumn{9}{l}{\emph{Not run as published}} \\" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 5


def test_the_page_of_all_suites_has_a_table_and_links_for_each(
    base: Any, filled: Any, documented: Any
) -> None:
    documents = {"a": documented(base, *published()), "b": documented(filled)}
    text = front_page(front_part(*pair) for pair in documents.items())
    first, second = text.split("\n## ")[1:]
    assert "(a/leaderboard.md), with " in first and "(b/leaderboard.md) ·" in second
    assert "| MAE | paper |" in first and "DINO" not in text
    assert "](b/index.html)" in second and "](b/leaderboard.tex)" in second


def test_a_heading_stands_across_all_columns() -> None:
    table = Table(("E", "a"), ((Cell("apart"),), (Cell("x"), Cell("1"))), "lr", ("heading", "ours"))
    assert markdown(table).splitlines()[2:] == ["| **apart** |  |", "| x | 1 |"]
    assert plain(table).splitlines() == ["E  a", "apart", "x  1"]


def test_costs_are_told_column_by_column(filled: Any, documented: Any) -> None:
    document = documented(filled)
    for line in document["efficiency"]:
        line["total_gpu_hours"] = 1.0
    table = cost_table(document)
    assert table is not None
    titles = [line[0].text for line in table.lines]
    assert titles == sorted(titles, key=titles.index)
    assert len(set(titles)) == len(document["columns"])


def test_a_number_that_is_not_there_is_held_against_nothing(base: Any, documented: Any) -> None:
    for job in base.jobs("MAE", ADE):
        (base.store.dir(job) / "result.json").unlink()
    table = twin_table(documented(base, *published()))
    assert table is not None
    shown = {(line[0].text, line[1].text) for line in table.lines}
    assert ("MAE", "ADE20K mIoU (%)") not in shown and ("Sup", "ADE20K mIoU (%)") in shown


def test_differences_and_their_ends_have_signs(filled: Any, documented: Any) -> None:
    for table in difference_tables(documented(filled)).values():
        cells = [cell for line in table.lines for cell in line[1:] if cell.small]
        assert cells
        for cell in cells:
            assert re.fullmatch(r"\[([+−]\d+\.\d|0\.0), ([+−]\d+\.\d|0\.0)\]", cell.small)
