import dataclasses
import json

import pytest
import torch
from detection_case import TINY
from torch import nn

from mae_bench.kit import pace
from transfer.detectron2_adapter import detect as engine
from transfer.detectron2_adapter.detect import detect
from transfer.detectron2_adapter.model import build_detector


def read(path):
    return json.loads(path.read_text())


def test_losses_that_are_not_finite_stay_out_of_the_weights_and_end_the_run(job, monkeypatch):
    built = []

    def broken(config, encoder):
        detector = build_detector(config, encoder)
        nn.init.constant_(detector.roi_heads.mask_head.predictor.bias, torch.nan)
        built.append((detector, {n: p.clone() for n, p in detector.named_parameters()}))
        return detector

    monkeypatch.setattr(engine, "build_detector", broken)
    with pytest.raises(
        ValueError, match=r"diverged: 2 losses in a row, up to step 4, .*lower the learning"
    ):
        detect(*job("diverged", nonfinite=2))
    detector, before = built[0]
    for name, parameter in detector.named_parameters():
        assert torch.equal(parameter, before[name]) or "predictor.bias" in name, name


def test_a_learning_rate_that_is_far_too_high_ends_with_the_step_and_advice(job):
    recipe = dataclasses.replace(TINY, lr=1e20, warmup_iterations=0)
    with pytest.raises(ValueError, match=r"1 losses in a row, up to step 3, .*lower the learning"):
        detect(*job("high", recipe, nonfinite=1))


def one_box(scores, boxes):
    first = boxes[0].clone()
    first[0, 0, 0, 0] = torch.inf
    return scores, [first, *boxes[1:]]


SPOILS = {
    "all boxes": lambda scores, boxes: (scores, [one + torch.inf for one in boxes]),
    "one box": one_box,
    "scores": lambda scores, boxes: ([one * torch.nan for one in scores], boxes),
}


class Spoilt:
    """Builds a detector whose proposal network answers with what is not finite in some steps."""

    def __init__(self, steps, what="all boxes"):
        self.steps, self.spoil, self.taken, self.weights = steps, SPOILS[what], 0, {}

    def __call__(self, config, encoder):
        self.detector = build_detector(config, encoder)
        self.detector.proposal_generator.rpn_head.register_forward_hook(self.answer)
        return self.detector

    def answer(self, head, _, answer):
        if not head.training:
            return answer
        self.weights[self.taken] = self.now()
        self.taken += 1
        return self.spoil(*answer) if self.taken in self.steps else answer

    def now(self):
        return {name: one.detach().clone() for name, one in self.detector.named_parameters()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


SMALL = dataclasses.replace(
    TINY, milestones=(), batch_size=1, image_size=32, roi_samples=4, rpn_proposals=4, mask_convs=0
)


@pytest.mark.parametrize(
    ("precision", "what"), [("fp32", "one box"), ("fp32", "scores"), ("fp16", "all boxes")]
)
def test_proposals_that_are_not_finite_cost_that_step_alone(
    job, counted, monkeypatch, what, precision
):
    spoilt = Spoilt({2}, what)
    monkeypatch.setattr(engine, "build_detector", spoilt)
    words = job("spoilt", dataclasses.replace(SMALL, iterations=3), precision=precision)
    detect(*words, counted)
    assert read(words[1].out / "facts.json")["training"]["skipped_steps"] == 1
    assert same(spoilt.weights[1], spoilt.weights[2])
    if precision == "fp32":  # the scaler of fp16 first looks for its scale
        assert not same(spoilt.weights[0], spoilt.weights[1])
        assert not same(spoilt.weights[2], spoilt.now())


def test_a_run_goes_back_to_its_checkpoint_once_and_says_so(job, counted, monkeypatch):
    monkeypatch.setattr(pace, "SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(pace, "SAVE_SHARE", float("inf"))
    spoilt = Spoilt({3, 4})
    monkeypatch.setattr(engine, "build_detector", spoilt)
    words = job("back", dataclasses.replace(SMALL, iterations=5), nonfinite=2, keep=10)
    detect(*words, counted)
    assert spoilt.taken == 4 + 3
    facts = read(words[1].out / "facts.json")["training"]
    assert (facts["skipped_steps"], facts["went_back"]) == (2, 1)
    (path,) = (words[1].out / "checkpoints").glob("step-000000002-*.pt")
    state = torch.load(path, weights_only=True)
    assert (state["extra"]["skipped"], state["extra"]["went_back"]) == (2, 1)
    assert same(spoilt.weights[2], state["module"])
    assert same(spoilt.weights[4], state["module"])


def test_without_a_checkpoint_a_run_goes_on_where_it_is_and_counts_what_it_left_out(
    job, counted, monkeypatch
):
    spoilt = Spoilt({1, 2})
    monkeypatch.setattr(engine, "build_detector", spoilt)
    words = job("on", dataclasses.replace(SMALL, iterations=3), nonfinite=2, keep=10)
    detect(*words, counted)
    assert spoilt.taken == 3
    facts = read(words[1].out / "facts.json")["training"]
    assert (facts["skipped_steps"], facts["went_back"]) == (2, 0)
    steps = sorted(path.name[:14] for path in (words[1].out / "checkpoints").glob("*.pt"))
    assert steps == ["step-000000002", "step-000000003"]
