"""A provider of settings that neither measures nor trains: costs and values by rule, and every call kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from exitsearch.errors import UnavailableError
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.candidates import Candidates
from exitsearch.specs.question.knobs import Knobs, Setting
from exitsearch.specs.question.limits import Limits
from exitsearch.specs.question.space import SpaceHead

BACKBONE = {"name": "toy", "input_size": [1, 8, 8], "num_outputs": 2}
OTHERWISE = Setting(dtype="fp32", runtime="eager", threads=1, batch_size=1)
FAST = {"eager": 1.0, "compile": 0.5, "onnxruntime": 2.0}
# Accuracy of head b with option k after all nine epochs, at placements 0 and 1: each k is best somewhere.
VALUES = {1: (0.5, 0.70), 2: (0.6, 0.65), 3: (0.4, 0.60), 4: (0.3, 0.50)}
FINAL = 0.9


class FakeProvider:
    """Placements at 2 and 5 ms, the end at 8 ms, heads of 1 ms; all times scaled by runtime and batch size.

    Args:
        knobs: whose heads are measured.
        impossible: settings that do not exist.
        on_outcomes: called with the settings whose heads are trained to the end.
    """

    epochs = 9

    def __init__(
        self,
        knobs: Knobs,
        *,
        impossible: Callable[[Setting], bool] = lambda setting: False,
        on_outcomes: Callable[[Sequence[Setting]], None] = lambda settings: None,
    ) -> None:
        self.knobs, self.impossible, self.on_outcomes = knobs, impossible, on_outcomes
        self.profiled: list[Setting] = []
        self.trained: list[list[Setting]] = []
        self.looked: list[tuple[int, int]] = []

    def ks(self, settings: Sequence[Setting]) -> list[int]:
        """Options of head b in some settings; 1 where it is no knob."""
        return list(dict.fromkeys(int(s.heads.get("b", {}).get("k", 1)) for s in settings))

    def profile(self, setting: Setting) -> Profile:
        if self.impossible(setting):
            raise UnavailableError(f"there is no {setting.runtime} here")
        self.profiled.append(setting)
        unit = FAST[setting.runtime] * setting.batch_size
        ks = self.knobs.heads.get("b", {}).get("k", [1])
        return Profile.model_validate(
            {
                "schema_version": 1,
                "backbone": BACKBONE,
                "environment": {"identity": {"runtime": setting.runtime}},
                "segments": [
                    {"placement": 0, "latency_ms": 2 * unit, "energy_mj": unit},
                    {"placement": 1, "latency_ms": 3 * unit, "energy_mj": unit},
                ],
                "heads": [
                    {"placement": place, "head": f"b(k={k})", "latency_ms": unit, "energy_mj": unit}
                    for place in (0, 1)
                    for k in ks
                ],
                "final": {"latency_ms": 3 * unit, "energy_mj": unit},
                "verdict": {"status": "ok"},
            }
        )

    def outcomes(self, settings: Sequence[Setting]) -> Outcomes:
        self.on_outcomes(settings)
        self.trained.append(list(settings))
        return self._outcomes(settings, 1.0)

    def early_outcomes(self, setting: Setting, *, epoch: int) -> Outcomes:
        self.looked.append((self.ks([setting])[0], epoch))
        return self._outcomes([setting], epoch / 10)

    def _outcomes(self, settings: Sequence[Setting], share: float) -> Outcomes:
        lost = 0.1 if settings[0].dtype == "bf16" else 0.0
        heads = [
            {"placement": place, "head": f"b(k={k})", "scores": {"choice": share * (VALUES[k][place] - lost)}}
            for place in (0, 1)
            for k in self.ks(settings)
        ]
        return Outcomes.model_validate(
            {
                "schema_version": 1,
                "backbone": BACKBONE,
                "metric": "accuracy",
                "fallback": 0.0,
                "splits": {"choice": 0},
                "heads": heads,
                "final": {"scores": {"choice": FINAL}},
            }
        )

    def candidates(self, settings: Sequence[Setting]) -> Candidates:
        if self.impossible(settings[0]):
            raise UnavailableError(f"there is no {settings[0].runtime} here")
        return Candidates(space_heads=[SpaceHead(type="b", options={"k": k}) for k in self.ks(settings)])

    def named(self, limits: Limits) -> Limits:
        return limits

    def sources(self, setting: Setting, config: MultiExitConfig) -> dict[str, str]:
        return {"profile": str(setting), "outcomes": config.outcomes["identity"]}
