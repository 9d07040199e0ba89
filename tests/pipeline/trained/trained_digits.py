"""A bank, a search and trained models over the small digits, for what comes after training."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from exitsearch.learn.bank.checkpoint import save_tensors
from exitsearch.learn.bank.identity import weights_digest
from exitsearch.learn.bank.recipe import HeadRecipe
from exitsearch.learn.bank.train import train_bank
from exitsearch.learn.data import DataSplits, TensorsSplit
from exitsearch.learn.data.digits import digits_splits
from exitsearch.learn.data.images import Prepare
from exitsearch.learn.trained import trained_outcomes
from exitsearch.models.backbone import create_backbone
from exitsearch.models.multi_exit import attach_exits
from exitsearch.search.run import search_request
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import SearchRequest

NAME = "vit_digits_patch1_8"
RECIPE = HeadRecipe(
    name="test", description="", epochs=2, batch_size=20, learning_rate=3e-3, weight_decay=0.0, schedule="constant"
)
PLACEMENTS, HEADS = (1, 4, 8), ("linear", "mlp_ee")
PAIRS = list(itertools.product(PLACEMENTS, HEADS))
COUNT = 60


def backbone():
    """The embedded one, with its weights."""
    return create_backbone(NAME)


def digits(count=COUNT) -> DataSplits:
    """The first digits of each split."""
    prepare = Prepare.for_backbone(backbone())
    splits = {
        name: TensorsSplit(torch.from_numpy(s.images[:count]), torch.from_numpy(s.labels[:count]), prepare=prepare)
        for name, s in digits_splits().items()
    }
    return DataSplits("digits", f"first {count}", "classification", 10, **splits)


def profile(**more) -> Profile:
    """1 ms a segment, 0.2 ms a linear head and 0.6 ms the other."""
    facts = backbone()
    return Profile.model_validate(
        {
            "schema_version": 1,
            "backbone": facts.facts.model_dump(),
            "segments": [{"placement": p.index, "module": p.module, "latency_ms": 1.0} for p in facts.placements],
            "heads": [
                {"placement": place, "head": head, "latency_ms": {"linear": 0.2, "mlp_ee": 0.6}[head], "params": 10}
                for place, head in PAIRS
            ],
            "final": {"latency_ms": 0.5},
            "slowdown": [0.9, 1.0, 1.0, 1.3],
            "verdict": {"status": "ok"},
            **more,
        }
    )


@dataclass
class Place:
    """A folder in which the steps before training have been taken."""

    root: Path
    data: DataSplits
    profile: Profile
    bank: Outcomes

    def config(self, **asked) -> MultiExitConfig:
        """What the search chooses of the bank."""
        request = SearchRequest.asked(**{"budget": "uniform:10%,110%", "max_exits": 2, **asked})
        return search_request(self.profile, self.bank, request, trials=0).config

    def trained(self, config: MultiExitConfig, name: str, *, parts: str = "all", steps: int = 12) -> Path:
        """A model after a few steps of plain torch: of all its weights, or of its heads alone."""
        model = attach_exits(backbone(), config=config)
        start = weights_digest(model.backbone)
        parameters = model.parameters() if parts == "all" else model.heads.parameters()
        optimizer = torch.optim.Adam(list(parameters), lr=1e-3)
        torch.manual_seed(0)
        for step in range(steps):
            rows = [(20 * step + k) % COUNT for k in range(20)]
            images, labels = self.data.heads.batch(rows)
            optimizer.zero_grad()
            sum(F.cross_entropy(out, labels) for out in model(images)).backward()
            optimizer.step()
        out = self.root / name
        trained_outcomes(model, self.data, out=out, recipe_facts={"recipe": "joint", "epochs": 4}, start=start)
        config.write(out / "chosen.json")
        save_tensors(out / "model.safetensors", dict(model.state_dict()))
        return out


@contextmanager
def inside(folder: Path):
    """The commands look for profiles and outcomes where they are started."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def prepared(root: Path) -> Place:
    """Profile and bank, where the commands put them."""
    torch.set_num_threads(1)
    data, costs = digits(), profile()
    costs.write(root / "profiles" / f"{NAME}__cpu__fp32__bs1__eager.json")
    out = root / "outcomes" / f"{NAME}__digits"
    bank = train_bank(backbone(), data, out=out, exits=PAIRS, recipe=RECIPE)
    return Place(root, data, costs, bank)
