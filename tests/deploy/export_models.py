"""Multi-exit models of three families, small enough to be exported in a test."""

from __future__ import annotations

import hashlib

import onnx
import onnx_ir
import pytest
import timm.models.swin_transformer as swin
import torch

from exitsearch.deploy import export
from exitsearch.deploy.checks import Samples
from exitsearch.deploy.export import Knowledge
from exitsearch.deploy.graphs import graph_of
from exitsearch.deploy.preprocessing import preprocessing_of
from exitsearch.models.backbone import create_backbone
from exitsearch.models.multi_exit import CONFIG_FILE, MODEL_FILE, attach_exits
from exitsearch.specs.config import MultiExitConfig

FAMILIES = ("vit", "resnet", "swin")
SIDE = 32


def chosen(facts, exits, policy="interruptible"):
    count = len(exits) + 1
    confidence = None
    if policy == "confidence":
        point = {"budget_ms": 1.0, "thresholds": [0.5] * (count - 1), "exit_rates": [1 / count] * count, "value": 0.5}
        confidence = {"score": "softmax", "temperatures": [1.0] * (count - 1), "points": [point]}
    return MultiExitConfig.model_validate(
        {
            "schema_version": 1,
            "backbone": facts.model_dump(),
            "exits": [{"placement": placement, "head": head} for placement, head in exits],
            "policy": policy,
            "budget": "uniform:1,2",
            "expected": {"value": 0.5, "metric": "accuracy", "policy": policy, "split": "choice"},
            "optimum": {"value": 0.5, "exact": True, "regret": 0.0},
            "latency_ms": [float(number + 1) for number in range(count)],
            "exit_scores": {"choice": [0.5 + 0.1 * number for number in range(count)]},
            "confidence": confidence,
            "profile": {"identity": "0123456789abcdef"},
            "outcomes": {},
        }
    )


def family_backbone(family):
    if family == "vit":
        return create_backbone("test_vit", pretrained=False, image_size=SIDE, num_outputs=10)
    if family == "resnet":
        return create_backbone("test_resnet", pretrained=False, image_size=SIDE, num_outputs=10)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = swin.SwinTransformer(
            img_size=SIDE, patch_size=4, num_classes=10, embed_dim=16, depths=(2, 2), num_heads=(1, 2), window_size=4
        )
    return create_backbone(model.eval(), example_input=torch.zeros(1, 3, SIDE, SIDE))


def family_model(family, exits=((1, "linear"),), policy="interruptible"):
    """A model of untrained weights, which answers differently at every exit."""
    backbone = family_backbone(family)
    return attach_exits(backbone, config=chosen(backbone.facts, exits, policy), seed=0)


def weights_folder(model, folder):
    """What `exitsearch train` writes of it."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    model.config.write(folder / CONFIG_FILE)
    save_file(dict(model.state_dict()), folder / MODEL_FILE)
    return folder


_graphs = {}


def remembered_graph(unit):
    """`graph_of`, once for each unit of the same weights in all tests: torch takes seconds for each."""
    digest = hashlib.sha256(f"{unit.name} {unit.module} {[tensor.shape for tensor in unit.example]}".encode())
    for tensor in unit.module.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    key = digest.hexdigest()
    if key not in _graphs:
        _graphs[key] = onnx_ir.to_proto(graph_of(unit)).SerializeToString()
    return onnx_ir.from_proto(onnx.load_from_string(_graphs[key]))


def exported_bundle(family, precision, folder):
    """A model and its bundle."""
    torch.set_num_threads(1)
    model = family_model(family)
    x = model.backbone.example_input(8, generator=torch.Generator().manual_seed(3))
    knowledge = Knowledge(
        values=[0.5, 0.6],
        values_from="a test",
        preprocessing=preprocessing_of(model.backbone),
        samples=Samples(x, "choice"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "graph_of", remembered_graph)
        found = export.export_bundle(model, out=folder, knowledge=knowledge, precision=precision, max_seconds=0.2)
    return model, found
