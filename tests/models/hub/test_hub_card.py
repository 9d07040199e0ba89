"""The model card: its header as the Hub reads it, and its numbers."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

from exitsearch.errors import InputError
from exitsearch.models.hub import model_card

from hub_config import small_config  # isort: skip


def read(card):
    """As the Hub would: header and text of what is written."""
    found = ModelCard(str(card))
    return found.data.to_dict(), found.text


def test_the_configurations_own_scores():
    header, text = read(model_card(small_config()))
    assert header["library_name"] == "exitsearch"
    assert header["tags"] == ["early-exit", "model_hub_mixin", "multi-exit", "timm"]
    assert header["metrics"] == ["accuracy"]
    assert "datasets" not in header
    assert "pipeline_tag" not in header
    assert "accuracy of heads over the frozen backbone, by which they were chosen" in text
    assert "| exit 0 | 1 | `blocks.1` | `linear` | 1 ms | 0.2500 | 0.2000 |" in text
    assert "| the final exit |  |  |  | 3 ms | 0.7500 | 0.6000 |" in text
    assert "chosen for budgets `uniform:1,2` under the policy interruptible: expected value 0.5000" in text
    assert "- times: cpu, 1 thread" in text


def test_scores_of_the_trained_model_stand_in_the_models_index():
    card = model_card(small_config(), scores={"report": [0.5, 0.625, 0.75]}, datasets=["mnist"], license="mit")
    header, text = read(card)
    assert header["datasets"] == ["mnist"]
    assert header["license"] == "mit"
    (entry,) = header["model-index"]
    values = [metric["value"] for result in entry["results"] for metric in result["metrics"]]
    assert values == [0.5, 0.625, 0.75]
    assert "accuracy of this model" in text


def test_photographs_are_found_under_their_task():
    facts = {"name": "resnet18", "input_size": (3, 64, 64), "num_outputs": 10}
    assert read(model_card(small_config(backbone=facts)))[0]["pipeline_tag"] == "image-classification"


def test_text_of_others_stays_in_its_place():
    """A condition with a table's bar and an end of line; a source that would close the header."""
    config = small_config(
        profile={"condition": "cpu | 1\n\n# thread"}, outcomes={"identity": "", "source": "x\n---\nlicense: mit"}
    )
    header, text = read(model_card(config))
    assert "license" not in header
    assert "- times: cpu \\| 1 # thread" in text


@pytest.mark.parametrize("numbers", [[0.5, 0.6], [0.5, 0.6, float("nan")]])
def test_scores_must_fit_the_exits(numbers):
    with pytest.raises(InputError, match="scores need 3 finite numbers a split"):
        model_card(small_config(), scores={"report": numbers})
