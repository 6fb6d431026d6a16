import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from page_sample import SHA, cell_of_others, document, job, own_cell, row, sample, twin

from mae_bench.report.page.build import page
from mae_bench.report.page.markup import Html, element, joined
from mae_bench.report.page.words import hours, interval, p_value
from mae_bench.report.table import number, signed
from mae_bench.suite.suite import Column, made_row

LINEAR, COCO = "imagenet_linear", "coco_vitdet"
NASTY = "<script>alert(1)</script> \"'& javascript:alert(1) </table> \u2028"


class Elements(HTMLParser):
    """Collects tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def shown(tmp_path: Path) -> Callable[[dict[str, Any]], Elements]:
    """Return what a document's page holds."""
    return lambda content: Elements(page(content, tmp_path))


def test_text_is_escaped_and_markup_is_not_escaped_twice() -> None:
    inner = element("b", "a<b>&", title="\"'")
    assert inner == '<b title="&quot;&#x27;">a&lt;b&gt;&amp;</b>'
    assert element("p", inner, "<i>") == f"<p>{inner}&lt;i&gt;</p>"
    assert joined(["<", Html("<br>")], "&") == "&lt;&amp;<br>"
    assert element("input", checked=True, hidden=False, value=None) == "<input checked>"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0"), (-0.04, "0.0"), (0.05, "+0.1"), (-1.26, "−1.3"), (None, "")],
)
def test_a_difference_has_its_sign_and_a_rounded_zero_none(value: float | None, text: str) -> None:
    assert signed(value, 1) == text


def test_numbers_are_written_to_what_matters() -> None:
    assert [p_value(p) for p in (None, 0.0001, 0.0123, 1.0)] == [
        "",
        "p < 0.001",
        "p = 0.012",
        "p = 1",
    ]
    assert [hours(h) for h in (0.00558, 1.5, 43.21, 12345.6)] == [
        "0.00558 h",
        "1.5 h",
        "43.2 h",
        "12,346 h",
    ]
    assert interval({"low": -1.26, "high": 2.0, "digits": 1}) == "[−1.3, 2.0]"
    assert [number(value, 1) for value in (-0.04, -1.26, 2.0)] == ["0.0", "−1.3", "2.0"]
    ends = {"delta_low": 3.04, "delta_high": 5.8, "digits": 1}
    assert interval(ends, "delta_") == "[+3.0, +5.8]"
    assert interval({"low": None, "high": 2.0, "digits": 1}) == ""


def test_nothing_comes_from_elsewhere_and_the_policy_names_what_may_run(tmp_path: Path) -> None:
    html = page(sample(), tmp_path)
    found = Elements(html)
    assert not {"link", "iframe", "object", "form", "base"} & {tag for tag, _ in found.tags}
    assert not re.search(r"https?:|src=\"(?!data:)|url\(|@import", html)
    policy = next(a for a in found.named("meta") if "http-equiv" in a)["content"]
    hashes = {}
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        hashes[tag] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; base-uri 'none'; form-action 'none'"
    )
    assert not [a for _, a in found.tags if "style" in a or any(n.startswith("on") for n in a)]


def test_without_a_script_all_is_there_to_be_read(shown: Callable[..., Elements]) -> None:
    text = shown(sample()).text
    for part in (
        "[83.5, 84.5]pub. 83.6 · +0.4 ≈, within noise",
        "1/2failed",
        "One note.",
        "ValueError: loss is nan",
        "mae: batch_size 2048, published 4096",
        "Git revisionabc1234",
        f"Encoder SHA-256{SHA}",
        "layer_decay0.65",
        "He et al. 2021, arXiv 2111.06377, Table 3",
        "+1.0[+0.2, +1.8] p = 0.012",
    ):
        assert part in text
    assert "nan" not in text.replace("loss is nan", "") and "None" not in text


def test_names_and_reasons_cannot_break_out_of_the_page(shown: Callable[..., Elements]) -> None:
    cells = [
        own_cell(NASTY, "finetune", None, task=NASTY, title=NASTY, **twin(1.0, 0.5, "")),
        cell_of_others("theirs", "box", 3.0, source=NASTY, location=NASTY, note=NASTY),
    ]
    cells[0]["numbers"][1]["reason"] = NASTY
    cells[0]["published_by"] = NASTY
    rows = [
        row(NASTY, arch=NASTY, origin=NASTY, stamp="deviates", deviations=[NASTY]),
        row("theirs", "imported", source=NASTY, location=NASTY, note=NASTY),
    ]
    jobs = [job(number["key"], cells[0]) | {"reason": NASTY} for number in cells[0]["numbers"]]
    jobs[0]["provenance"]["versions"][NASTY] = NASTY
    content = document(rows, cells, jobs) | {"suite": NASTY, "command": NASTY, "notes": [NASTY]}
    plain, found = shown(sample()), shown(content)
    assert found.text.count(NASTY) > 20
    assert len(found.named("script")) == 1
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in plain.tags}
    leads = {str(a["href"]) for a in found.named("a")}
    assert all(re.match(r"#|[a-z]+\.(csv|json|md|tex)$", one) for one in leads)


def test_every_number_leads_to_a_job_that_is_there(
    filled: Any, documented: Any, shown: Any
) -> None:
    found = shown(documented(filled))
    ids = [str(attributes["id"]) for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    leads = {str(a["href"])[1:] for a in found.named("a") if str(a["href"]).startswith("#")}
    assert leads <= set(ids)
    assert {f"job-{job.key}" for job in filled.plan.jobs} <= leads


def test_the_hole_and_its_reason_are_shown(filled: Any, documented: Any, shown: Any) -> None:
    gone = filled.jobs("MAE", COCO)[0]
    (filled.store.dir(gone) / "result.json").unlink()
    filled.fail(gone, "RuntimeError: boom <b>")
    found = shown(documented(filled))
    assert "0/1failed" in found.text
    assert "failed: RuntimeError: boom <b>" in found.text


def test_a_label_with_markup_is_shown_as_it_is(bench: Any, documented: Any, shown: Any) -> None:
    nasty = bench((made_row(NASTY[:40], "mae", "demo", {}),), (Column(LINEAR, "demo"),))
    nasty.fill(NASTY[:40], LINEAR, 50.0, 51.0)
    found = shown(documented(nasty))
    assert len(found.named("script")) == 1 and NASTY[:40] in found.text


def test_the_best_are_marked_by_a_sign_and_words_too(shown: Callable[..., Elements]) -> None:
    found = shown(sample())
    marked = [a for a in found.named("td") if "best" in str(a.get("class")).split()]
    assert len(marked) == 1
    assert "●84.0best, or not told apart from it" in found.text


def test_the_head_counts_published_and_imported_rows_apart(tmp_path: Path) -> None:
    text = page(sample(), tmp_path)
    assert '<p class="summary">4 encoders · 1 published · 1 imported · 3 numbers each' in text
    assert '<p class="caution">Drawn by &lt;hand&gt;.</p>' in text


def test_figures_are_inside_the_page(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "bars.png").write_bytes(b"png")
    (tmp_path / "figures" / "bars.svg").write_bytes(b"<svg/>")
    files = ["figures/bars.png", "figures/bars.svg", "figures/bars.csv"]
    picture = {"name": "bars", "caption": "Bars & <lines>.", "files": files}
    found = Elements(page(sample() | {"figures": [picture]}, tmp_path))
    (image,) = found.named("img")
    expected = base64.b64encode(b"<svg/>").decode()
    assert image == {"src": f"data:image/svg+xml;base64,{expected}", "alt": "Bars & <lines>."}
    leads = [a["href"] for a in found.named("a")]
    assert [lead for lead in leads if str(lead).startswith("figures/")] == files


def test_rows_that_deviate_stand_under_a_heading_of_their_own(
    shown: Callable[..., Elements],
) -> None:
    text = shown(sample()).text
    heading = text.index("vit_base_patch16, deviating from the published recipes")
    assert text.index("Our lab") < heading < text.index("Half batch")


def test_a_section_without_content_is_left_out(shown: Callable[..., Elements]) -> None:
    names = [a.get("id") for a in shown(sample()).named("section")]
    assert "costs" not in names and "figures" not in names and "agreement" not in names
    agreement = [{"one": "a", "other": "b", "n": 4, "spearman": 0.8, "kendall": 0.5, "p": None}]
    found = shown(sample() | {"rank_agreement": agreement})
    assert "agreement" in [a.get("id") for a in found.named("section")]
    assert "a" + "b" + "4" + "0.80" + "0.50" in found.text
