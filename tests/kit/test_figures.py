import json

import numpy as np
import pytest
from PIL import Image

from mae_bench.core.files import FACTS, METRICS
from mae_bench.kit.figures import drawing, shows, write_picture
from mae_bench.kit.loss_figure import Curve, curves, loss_figure, read_run, smoothed


def write_lines(out, *lines):
    (out / METRICS).write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def step(number, loss, **more):
    return {"step": number, "steps": 9, "loss": loss, **more}


def test_a_picture_says_what_it_shows_and_its_bytes_are_the_same(tmp_path):
    picture = Image.new("RGB", (4, 3), "red")
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "figures" / name, picture, "Schöne Kästchen")
    a, b = (tmp_path / "figures" / name for name in ("a.png", "b.png"))
    assert shows(a) == "Schöne Kästchen"
    assert a.read_bytes() == b.read_bytes()
    assert b"Software" not in a.read_bytes()


def test_a_picture_without_a_sentence_gives_its_size_and_a_broken_one_the_reason(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "plain.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert shows(tmp_path / "plain.png") == "a picture of 4x3 pixels"
    assert shows(tmp_path / "broken.png").startswith("cannot be read: ")


def test_a_figure_that_fails_is_a_warning_and_a_fact_until_it_is_drawn(tmp_path, caplog):
    (tmp_path / FACTS).write_text('{"classes": 3}')
    with drawing(tmp_path, "a.png") as path:
        write_picture(path, Image.new("RGB", (1, 1)), "dot")
        raise ZeroDivisionError("no colours\nleft")
    assert not (tmp_path / "figures" / "a.png").exists()
    assert "figures/a.png could not be drawn: ZeroDivisionError: no colours" in caplog.text
    reason = {"a.png": "ZeroDivisionError: no colours"}
    assert json.loads((tmp_path / FACTS).read_text()) == {"classes": 3, "undrawn": reason}
    with drawing(tmp_path, "a.png") as path:
        write_picture(path, Image.new("RGB", (1, 1)), "dot")
    assert json.loads((tmp_path / FACTS).read_text()) == {"classes": 3, "undrawn": {}}


def test_drawing_ends_quietly_even_where_no_folder_can_be(tmp_path, caplog):
    (tmp_path / "figures").write_text("a file in the way")
    write_lines(tmp_path, step(1, 2.0), step(2, 1.0))
    loss_figure(tmp_path)
    assert "figures/loss.png could not be drawn" in caplog.text
    assert "loss.png" in json.loads((tmp_path / FACTS).read_text())["undrawn"]


def test_a_stop_is_not_taken_for_a_failed_figure(tmp_path):
    with pytest.raises(SystemExit), drawing(tmp_path, "a.png"):
        raise SystemExit(75)


def test_of_steps_done_twice_the_later_ones_count(tmp_path):
    write_lines(
        tmp_path,
        *(step(n, 10.0 + n) for n in (1, 3, 5, 7)),
        *(step(n, 20.0 + n) for n in (4, 6)),  # resumed after step 3
        {"step": 9, "steps": 9, "evaluated": "1 of 2 images"},
    )
    with (tmp_path / METRICS).open("a") as stream:
        stream.write('{"step": 9, "steps": 9, "loss": 1')  # killed while writing
    found = [(line["step"], line["loss"]) for line in read_run(tmp_path)]
    assert found == [(1, 11.0), (3, 13.0), (4, 24.0), (6, 26.0)]


def test_curves_are_the_loss_its_parts_and_the_rate_where_they_are_numbers():
    lines = [
        step(1, 3.0, lr=0.1, loss_cls=1.0, acc=5.0, output_std=0.9, **{"decode.loss_ce": 2.0}),
        step(2, float("nan"), lr=0.2, loss_cls=None),
        step(3, 1.0, lr=0.3, loss_cls=0.5, epoch=1.0),
    ]
    assert curves(lines) == {
        "loss": Curve([1, 3], [3.0, 1.0]),
        "lr": Curve([1, 2, 3], [0.1, 0.2, 0.3]),
        "loss_cls": Curve([1, 3], [1.0, 0.5]),
        "decode.loss_ce": Curve([1], [2.0]),
        "output_std": Curve([1], [0.9]),
    }


def test_smoothing_is_the_mean_of_the_steps_near_by():
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.integers(1, 5, 50))
    values = rng.random(50)
    found = smoothed(Curve(steps.tolist(), values.tolist()), 11.0)
    expected = [values[np.abs(steps - at) <= 5.5].mean() for at in steps]
    np.testing.assert_allclose(found.values, expected)


def test_the_loss_figure_is_drawn_from_any_run_and_always_the_same(tmp_path):
    parts = {"loss_a": 0.5, "loss_b": 1.5}
    for name, lines in {
        "long": [step(n, 100.0 / n, lr=1.0 / n, **parts) for n in range(1, 400)],
        "one": [step(1, 2.0)],
        "zero": [step(n, 0.0, lr=0.0) for n in (1, 2)],
        "spread": [step(n, -1.0, lr=0.1, output_std=1.0 / n) for n in (1, 2)],
    }.items():
        kept = []
        for again in "ab":
            out = tmp_path / (name + again)
            out.mkdir()
            write_lines(out, *lines)
            loss_figure(out)
            kept.append((out / "figures" / "loss.png").read_bytes())
            assert not (out / FACTS).exists()
        assert kept[0] == kept[1]
        assert "Loss of" in shows(out / "figures" / "loss.png")
    assert shows(tmp_path / "longa" / "figures" / "loss.png") == (
        "Loss of 399 steps of training, 2 parts of it and the learning rate"
    )
    assert shows(tmp_path / "spreada" / "figures" / "loss.png") == (
        "Loss of 2 steps of training and the std of outputs and the learning rate"
    )


def test_a_job_without_a_loss_has_no_loss_figure_and_no_complaint(tmp_path, caplog):
    loss_figure(tmp_path)
    write_lines(tmp_path, {"step": 1, "steps": 1})
    loss_figure(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [METRICS]
    assert not caplog.records
