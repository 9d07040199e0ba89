"""After training: predicted against trained, the search asked again, and the refined choice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from trained_digits import PAIRS, RECIPE, backbone, inside, prepared, profile

from exitsearch.errors import InputError, MismatchError
from exitsearch.learn.train import train_config
from exitsearch.learn.trained import trained_outcomes
from exitsearch.models.multi_exit import load_model
from exitsearch.pipeline.trained.after import after_training
from exitsearch.pipeline.trained.refine import refine
from exitsearch.search.build import build_problem
from exitsearch.search.proof import repeat_proof
from exitsearch.search.run import search_request
from exitsearch.search.utility import Utility
from exitsearch.search.value import expected_value
from exitsearch.specs.load import load_config
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.question.candidates import Candidates
from exitsearch.specs.question.request import SearchRequest


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def joint(place):
    """A configuration, and the folder of a model in which everything was trained."""
    config = place.config()
    return config, place.trained(config, "joint")


def brute_force(after, pairs, *, most):
    """The best value of all choices among some exits of the new table."""
    config, outcomes = after.config, after.together
    problem, _ = build_problem(after.profile, outcomes, config.request.question.changed(candidates=Candidates()))
    positions = [problem.positions[pair] for pair in pairs]
    choices = [c for k in range(most + 1) for c in itertools.combinations(sorted(positions), k)]
    return max(expected_value(problem, choice) for choice in choices if problem.allows(choice))


@pytest.mark.parametrize("policy", ["interruptible", "contract", "confidence"])
def test_frozen_lands_where_it_was_predicted(place, policy):
    """The same bank: what is trained is what the search saw, and no other choice would gain anything."""
    config = place.config(policy=policy)
    out = place.root / f"frozen-{policy}"
    with inside(place.root):
        train_config(config, data=place.data, backbone=backbone(), out=out, recipe=RECIPE)
        after = after_training(config, out)
    assert after.notes == ()
    for exit_ in after.exits:
        for split in ("choice", "report"):
            assert abs(exit_.predicted[split] - exit_.trained[split]) < 0.01
    assert after.value.value == pytest.approx(config.expected.value, abs=1e-9)
    assert after.value.held_out == pytest.approx(config.expected.held_out, abs=1e-9)
    assert after.value.interval == pytest.approx(config.expected.interval)
    assert after.together.borrowed == set(PAIRS) - {(e.placement, e.head) for e in config.exits}
    assert after.is_best
    assert after.gain == pytest.approx(0.0, abs=1e-9)


def test_the_choice_of_now_is_the_exact_optimum_of_the_new_table(place, joint):
    config, out = joint
    with inside(place.root):
        after = after_training(config, out)
    assert len(config.exits) == 2
    assert after.together.borrowed == set()  # no other head stands on a backbone that has moved
    pairs = [(exit_.placement, exit_.head) for exit_ in config.exits]
    assert after.again.value == pytest.approx(brute_force(after, pairs, most=2), abs=1e-12)
    assert after.again.config.optimum.exact
    assert after.gain >= 0
    assert after.value.value != pytest.approx(config.expected.value, abs=1e-6)
    assert after.value.interval[0] <= after.value.held_out <= after.value.interval[1]


def test_an_exit_that_training_has_spoilt_is_left_out(place, joint):
    """The first exit answers at random now: the search keeps the other one alone."""
    config, out = joint
    with inside(place.root):
        model = load_model(out)
        with torch.no_grad():
            for parameter in model.heads[0].parameters():
                parameter.zero_()
        spoilt = place.root / "spoilt"
        trained_outcomes(model, place.data, out=spoilt)
        after = after_training(config, spoilt)
    assert [(e.placement, e.head) for e in after.again.config.exits] == [
        (config.exits[1].placement, config.exits[1].head)
    ]
    assert after.gain > 0
    assert not after.is_best
    kept = refine(after, out=place.root / "kept", model=model)
    refined = load_model(kept)
    assert len(refined.heads) == 1
    images, _ = place.data.report.batch([0, 1, 2, 3])
    with torch.no_grad():
        whole, some = model.eval()(images), refined(images)
    assert torch.equal(whole[1], some[0])
    assert torch.equal(whole[2], some[1])


def test_heads_of_the_bank_may_be_chosen_beside_exits_of_a_backbone_that_stands(place):
    """Only heads were trained, and badly: heads of the bank are better, and the refined model holds their weights."""
    config = place.config()
    out = place.trained(config, "heads-alone", parts="heads", steps=1)
    with inside(place.root):
        after = after_training(config, out)
        assert len(after.together.borrowed) == len(PAIRS) - 2
        pairs = [(head.placement, head.head) for head in after.together.heads]
        assert after.again.value == pytest.approx(brute_force(after, pairs, most=2), abs=1e-12)
        chosen = [(e.placement, e.head) for e in after.again.config.exits]
        assert set(chosen) & after.together.borrowed
        folder = refine(after, out=out / "refined")
        model, written = load_model(folder), load_config(folder)
    labels = place.data.report.labels.numpy()
    images, _ = place.data.report.batch(list(range(len(labels))))
    with torch.no_grad():
        scores = [float((answers.argmax(1).numpy() == labels).mean()) for answers in model(images)]
    assert scores == pytest.approx(written.exit_scores["report"])
    # What was chosen from is written beside, so the proof can be repeated.
    findings = repeat_proof(written, place.profile, Outcomes.load(folder / "outcomes"))
    assert [str(finding) for finding in findings if not finding.same] == []


def test_limits_and_what_is_forbidden_hold_again(place):
    """Placement 8 is forbidden and one exit allowed: so it stays when heads of the bank are candidates again."""
    config = place.config(forbid=["8", "4:mlp_ee"], max_exits=1, heads="linear,mlp_ee")
    out = place.trained(config, "limited", parts="heads", steps=1)
    with inside(place.root):
        after = after_training(config, out)
    there = {(head.placement, head.head) for head in after.together.heads}
    assert there == {(1, "linear"), (1, "mlp_ee"), (4, "linear")}
    assert len(after.again.config.exits) <= 1


def test_without_the_profile_the_rest_is_still_done(place, joint, tmp_path):
    config, out = joint
    with inside(tmp_path):
        after = after_training(config, out)
    (note,) = after.notes
    assert "is not in profiles" in note
    assert config.profile["identity"] in note
    assert "--profile" in note
    assert after.again is None
    assert after.gain is None
    assert after.is_best
    assert len(after.exits) == 3
    assert after.value.interval is not None
    # At medians: the value of the same scores without the noise.
    quiet = after_training(config, out, profile=profile(slowdown=[]))
    assert after.value.value == pytest.approx(quiet.value.value, abs=1e-12)
    with pytest.raises(InputError, match=r"--refine needs the search to be asked again.*is not in profiles"):
        refine(after, out=tmp_path / "refined")


def test_a_profile_is_found_by_its_identity_among_others(place, joint):
    config, out = joint
    with inside(place.root):
        newer = profile(slowdown=[1.0, 2.0])
        newer.write("profiles/vit_digits_patch1_8__cpu__fp32__bs1__compile.json")
        (place.root / "profiles" / "vit_digits_patch1_8__broken.json").write_text("{")
        after = after_training(config, out)
        assert after.profile.identity == config.profile["identity"]
        given = after_training(config, out, profile=newer)
    assert "not the one that the configuration was computed from" in given.notes[0]
    assert given.value.value != pytest.approx(after.value.value, abs=1e-9)


def test_a_configuration_without_a_request_is_valued_all_the_same(place, joint):
    config, out = joint
    with inside(place.root):
        after = after_training(config.model_copy(update={"request": None}), out)
        whole = after_training(config, out)
    assert "before requests were kept" in after.notes[0]
    assert after.again is None
    assert after.value.value == whole.value.value


def test_exits_that_were_chosen_by_a_utility(place, joint):
    def harsh(outputs, labels):
        return np.where(outputs.argmax(axis=1) == labels, 1.0, -1.0)

    utility = Utility("harsh", harsh, fallback=-0.5)
    asked = SearchRequest.asked(budget="uniform:10%,110%", max_exits=2, worth="harsh")
    config = search_request(place.profile, place.bank, asked, utility=utility, trials=0).config
    out = place.trained(config, "worth")
    with inside(place.root):
        after = after_training(config, out, utility=utility)
        plain = after_training(config, out)
    assert after.again.config.expected.worth == "harsh"
    assert after.value.value < plain.value.value
    assert "chosen by harsh, which is not at hand" in plain.notes[0]
    assert plain.again is None


def test_wrong_input_is_said(place, joint, tmp_path):
    config, out = joint
    with inside(place.root):
        with pytest.raises(InputError, match=r"outcomes\.json: no such file"):
            after_training(config, tmp_path)
        other = config.model_copy(update={"exits": [config.exits[0].model_copy(update={"head": "mobilenet_ee"})]})
        other = other.model_copy(update={"latency_ms": config.latency_ms[1:], "exit_scores": {}})
        with pytest.raises(MismatchError, match=r"holds no answers of the exit .*mobilenet_ee"):
            after_training(other, out)
        with pytest.raises(MismatchError, match="stand on other weights"):
            after_training(config, out, bank=place.bank)
        counts = profile(
            segments=[{"placement": k} for k in range(12)],
            heads=[],
            final={},
            slowdown=[],
        )
        with pytest.raises(InputError, match="only counts operations"):
            after_training(config, out, profile=counts)
