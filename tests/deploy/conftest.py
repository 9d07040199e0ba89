"""Bundles that several tests look at, each exported once."""

from __future__ import annotations

import pytest
import torch
from export_models import family_model, remembered_graph

from exitsearch.deploy import export
from exitsearch.deploy.checks import Samples
from exitsearch.deploy.export import Knowledge, export_bundle
from exitsearch.deploy.preprocessing import preprocessing_of


@pytest.fixture(scope="session", autouse=True)
def _graphs_are_remembered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "graph_of", remembered_graph)
        yield


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """From a family and a precision to a model and its bundle."""
    made = {}

    def of(family, precision="fp32"):
        if (family, precision) not in made:
            torch.set_num_threads(1)
            model = family_model(family)
            x = model.backbone.example_input(8, generator=torch.Generator().manual_seed(3))
            knowledge = Knowledge(
                values=[0.5, 0.6],
                values_from="a test",
                preprocessing=preprocessing_of(model.backbone),
                samples=Samples(x, "choice"),
            )
            folder = tmp_path_factory.mktemp(f"{family}-{precision}") / "bundle"
            found = export_bundle(model, out=folder, knowledge=knowledge, precision=precision, max_seconds=0.2)
            made[family, precision] = model, found
        return made[family, precision]

    return of
