"""The registry of losses: what there is, and losses of one's own."""

from __future__ import annotations

import pytest
from small_exits import HAND_LABELS, hand_outputs, numbers

from exitsearch.errors import InputError
from exitsearch.learn.recipes.losses import LOSSES, register
from exitsearch.learn.recipes.outputs import NEEDS
from exitsearch.learn.recipes.recipe import Stage


@pytest.fixture
def own_loss():
    @register("own_loss", formula="CE_final", source="own")
    def own_loss(outputs, targets, teacher, step, *, factor=2.0):
        return {"final": factor * outputs.logits[-1].sum() * 0 + factor}

    yield own_loss
    del LOSSES["own_loss"]


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_says_what_it_is(name: str) -> None:
    loss = LOSSES[name]
    assert loss.name == name == loss.function.__name__
    assert loss.formula
    assert loss.source
    assert "Source" in loss.function.__doc__ or "own" in loss.source
    assert loss.needs <= NEEDS


def test_options_are_the_keywords_of_the_function() -> None:
    assert LOSSES["joint"].options == {"weights": 1.0, "final": 2.0}
    assert LOSSES["separate"].options == {}


def test_a_loss_of_ones_own_serves_in_a_stage(own_loss) -> None:
    stage = Stage(name="own", loss="own_loss", options={"factor": 3.0}, epochs=1, batch_size=1, learning_rate=1)
    terms = stage.named_loss.function(hand_outputs(), HAND_LABELS, None, 0, **stage.options)
    assert numbers(terms) == {"final": 3.0}


def test_options_of_another_kind_are_refused(own_loss) -> None:
    """Kinds are known where the function says them; what it does not say is its own to judge."""
    LOSSES["joint"].check_option("weights", (1.0, 2))
    LOSSES["own_loss"].check_option("factor", "much")
    with pytest.raises(InputError, match=r"the option final of the loss joint is a number, found \[1.0\]"):
        LOSSES["joint"].check_option("final", [1.0])
    with pytest.raises(InputError, match="the loss separate takes no options, found share; leave it out"):
        LOSSES["separate"].check_option("share", 0.5)


def test_a_name_is_taken_once(own_loss) -> None:
    register("own_loss", formula="", source="")(own_loss)  # the same again: a file that is read twice
    with pytest.raises(InputError, match="there is a loss of the name 'joint' already; take another name"):
        register("joint", formula="", source="")(own_loss)


def test_needs_have_names() -> None:
    with pytest.raises(InputError, match="a loss may need bodies, features, final_tokens, found gradients"):
        register("other", formula="", source="", needs=["gradients"])
