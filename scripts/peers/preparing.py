"""Every peer, exported, loaded, measured and calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import earlyon_thresholds
import numpy as np
import torch

from exitsearch.deploy.verify_load import disturbance
from exitsearch.errors import ExitSearchError
from exitsearch.measure.machine.load import Load, Snapshot, load_average, usable_cores
from exitsearch.specs.budget import BudgetDistribution
from peers.asking import Peer
from peers.bundles import Deadline, Interrupted
from peers.calibration import calibrated
from peers.graphs import Graph, Static
from peers.material import Material, StaticModel
from peers.planning import interleaved_times, times_of
from peers.settings import Setting, Settings, StageTimes, forced
from peers.stages import OnnxStages, Staged, Stages, TorchStages, staged

# A confidence that no input reaches.
_NEVER = 2.0


@dataclass(frozen=True)
class Prepared:
    """All peers, ready to be asked.

    Attributes:
        peers: with names of their own.
        statics: those of them that are static models, the whole backbone among them.
        best_static: name of the one that a user would choose for these budgets, on the choice split.
        left_out: peers that are not there, and why.
        calibration: what was measured and chosen for them.
        disturbed: what else the machine did while they were measured, in words; None: nothing that is known.
    """

    peers: list[Peer]
    statics: list[Static]
    best_static: str
    left_out: dict[str, str]
    calibration: dict[str, Any]
    disturbed: str | None


def prepare(
    material: Material,
    models: Sequence[StaticModel],
    budget: BudgetDistribution,
    *,
    folder: Path,
    threads: int,
    seconds: float,
    seed: int,
) -> Prepared:
    """Export, load, measure and calibrate.

    Args:
        material: what all are made of.
        models: static ones.
        budget: that one configuration, and one static model, are chosen for.
        folder: for the graphs, as long as they are asked.
        threads: of every peer.
        seconds: for measuring.
        seed: of the order in which that is done.
    """
    inputs = material.inputs
    size = sum(file.bytes for file in material.bundle.files.values()) / 1e6
    peers: list[Peer] = [
        Interrupted(material.session.replanned(), inputs, megabytes=size),
        Deadline(material.session.replanned(), inputs, megabytes=size),
    ]
    backbone = material.model.backbone
    graph = Graph(backbone.module, torch.from_numpy(inputs[0]), path=folder / "whole.onnx", threads=threads)
    words = "the same backbone as one ONNX graph: one answer at the end"
    statics = [Static("whole backbone", words, graph=graph, inputs=inputs, score=material.bundle.values[-1])]
    for number, model in enumerate(models):
        example = torch.from_numpy(model.inputs[0])
        graph = Graph(model.model.module, example, path=folder / f"static{number}.onnx", threads=threads)
        words = f"{model.name} as one ONNX graph, {model.words}"
        statics.append(Static(f"static {model.name}", words, graph=graph, inputs=model.inputs, score=model.score))
    engines, left_out = made_stages(material, folder, threads)
    before = Snapshot.take()
    settings = time_peers(material, statics, engines, seconds=seconds, seed=seed)
    load = Load.between(before, Snapshot.take(), cores=usable_cores(), load_average=load_average())
    best = max(statics, key=lambda static: static.score * float(budget.survival(static.times.late)))
    calibration = {
        "statics": {s.name: {"score": s.score, "median_ms": s.times.median, "p99_ms": s.times.late} for s in statics},
        "earlyon": {name: _told(found, budget) for name, found in settings.items()},
        "load": load.facts(),
    }
    return Prepared(
        [*peers, *statics, *staged_peers(engines, settings, inputs, budget)],
        statics,
        best.name,
        left_out,
        calibration,
        disturbance(load, threads=threads),
    )


def made_stages(material: Material, folder: Path, threads: int) -> tuple[dict[str, Stages], dict[str, str]]:
    """earlyon's stages in both engines, or why there are none."""
    if not earlyon_thresholds.installed():
        return {}, {"earlyon": "it is not installed: pip install earlyon==0.3.0"}
    try:
        model = staged(material.model)
        example = torch.from_numpy(material.inputs[0])
        return {"torch": TorchStages(model), "ONNX": OnnxStages(model, example, folder=folder, threads=threads)}, {}
    except (ExitSearchError, ValueError, RuntimeError) as error:  # its own refusals are of the latter kinds
        return {}, {"earlyon": str(error)}


def time_peers(
    material: Material, statics: Sequence[Static], engines: dict[str, Stages], *, seconds: float, seed: int
) -> dict[str, Settings]:
    """Measure all that plans go by in one interleaved run, and find earlyon's configurations for each engine by it."""
    calls: dict[str, Any] = {static.name: static.run for static in statics}
    for name, engine in engines.items():
        for exit_ in range(engine.exits + 1):
            for kind, setting in _timed_settings(engine.exits, exit_).items():
                calls[f"{name} {kind} {exit_}"] = _call(engine, setting, material.inputs)
    rng = np.random.default_rng(seed)
    found = interleaved_times(calls, samples=len(material.inputs), seconds=seconds, rng=rng)
    for static in statics:
        static.plan(times_of(found[static.name]))
    settings = {}
    for name, engine in engines.items():
        exits = range(engine.exits + 1)
        times = StageTimes(
            tuple(times_of(found[f"{name} alone {k}"]) for k in exits),
            tuple(times_of(found[f"{name} behind {k}"]) for k in exits),
        )
        outputs, labels = material.outputs, material.choice_labels
        settings[name] = Settings(calibrated(outputs, labels, times), outputs=outputs, labels=labels, times=times)
    return settings


def _timed_settings(exits: int, exit_: int) -> dict[str, Setting]:
    """Leaving at one exit, alone and behind all heads before it."""
    behind = Setting(
        tuple(k <= exit_ for k in range(exits)),
        tuple(0.0 if k == exit_ else _NEVER for k in range(exits)),
        (1.0,) * exits,
    )
    return {"alone": forced(exits)[exit_], "behind": behind}


def _call(engine: Stages, setting: Setting, inputs: Sequence[Any]) -> Any:
    return lambda sample: engine.infer(inputs[sample], setting)


def staged_peers(
    engines: dict[str, Stages], settings: dict[str, Settings], inputs: Sequence[Any], budget: BudgetDistribution
) -> list[Peer]:
    """earlyon with one configuration for all budgets, as it is meant, and with the best one for each."""
    found: list[Peer] = []
    runs = {"torch": "run by the package in torch", "ONNX": "its stages and rule over ONNX graphs"}
    for name, engine in engines.items():
        mine = settings[name]
        one = mine.only(mine.best_for(budget))
        for title, words, table in (
            ("", "one configuration, the best over these budgets", one),
            (", by budget", "for each budget the best configuration within it", mine.by_budget()),
        ):
            found.append(
                Staged(
                    f"earlyon, {name}{title}",
                    f"earlyon's staged form of the same model, {runs[name]}; {words}",
                    stages=engine,
                    inputs=inputs,
                    settings=mine,
                    table=table,
                )
            )
    return found


def _told(settings: Settings, budget: BudgetDistribution) -> dict[str, Any]:
    """Times of the stages, how many configurations there are, and which of them are used."""
    one, table = settings.best_for(budget), settings.by_budget()
    return {
        "configurations": len(settings.settings),
        "alone_ms": [[times.median, times.late] for times in settings.times.alone],
        "behind_all_ms": [[times.median, times.late] for times in settings.times.behind_all],
        "one": asdict(settings.settings[one]),
        "by_budget": [
            {"from_ms": from_ms, **asdict(settings.settings[number])}
            for from_ms, number in zip(table.from_ms, table.numbers, strict=True)
        ],
    }
