"""MeasuredSettings: the provider of a search over settings. Measures, trains, and keeps what it did.

    profiles/knobs/<condition>__<...>.json     one a condition, with the heads of every setting in it
    outcomes/knobs/<backbone>__<data>__<...>/  one a training, and one where heads of several answer together

The names hold digests of all that the contents depend on. Whatever stands there is used again, by any search, so
nothing is measured or trained twice; two processes that want the same wait for each other.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from exitsearch.cli import options
from exitsearch.cli import profile as profile_command
from exitsearch.cli import train_heads as train_command
from exitsearch.cli.turned_heads import Exits, TurnedHeads
from exitsearch.errors import ExitSearchError, InputError, UnavailableError
from exitsearch.specs.knobs import Setting
from exitsearch.specs.limits import Limits
from exitsearch.specs.outcomes import DOCUMENT_NAME, Metric, Outcomes
from exitsearch.specs.profile import Profile, Scalar
from exitsearch.specs.space import SearchSpace

if TYPE_CHECKING:
    from exitsearch.learn.data import DataSplits
    from exitsearch.models.backbone import Backbone
    from exitsearch.specs.config import MultiExitConfig

PROFILES_FOLDER = profile_command.PROFILES_FOLDER / "knobs"
OUTCOMES_FOLDER = train_command.OUTCOMES_FOLDER / "knobs"


class MeasuredSettings:
    """Measures profiles on this machine and trains heads, as the options of `exitsearch search` say.

    Args:
        args: of `exitsearch search`.
        space: with knobs.
        energy: whether profiles must know energies.

    Raises:
        InputError: an option, a runtime or a head that is wrong whatever the setting.

    Attributes:
        epochs: of a whole training.
        limits: the space's.
        otherwise: the values of what is no knob.
    """

    def __init__(self, args: argparse.Namespace, space: SearchSpace, *, energy: bool) -> None:
        import torch

        from exitsearch.learn.recipes import get_recipe
        from exitsearch.measure.machine import resolve_device
        from exitsearch.measure.runtimes import find_runtime

        self._args, self._space, self._energy = args, space, energy
        self._name = options.model_name(args, space)
        self._arguments = options.backbone_arguments(args, space)
        # Two pretrained models may differ in the tag of their name alone, and a plug-in's heads in its text.
        self._sources = [self._name, _digest(args.plugin.read_bytes()) if args.plugin else None]
        self._device = resolve_device(args.device or "cpu")
        self._recipe = get_recipe(args.recipe or train_command.RECIPE, epochs=args.epochs)
        self.epochs = self._recipe.epochs
        self.otherwise = Setting(
            dtype="fp32",
            runtime="eager",
            threads=args.threads or torch.get_num_threads(),
            batch_size=args.batch_size or 1,
            input_size=args.image_size,
        )
        for runtime in space.knobs.runtime:
            find_runtime(runtime)
        self._given = self._given_outcomes()
        self._data = None if self._given and not args.data else train_command.data_name(args, self._name)
        self._made: dict[int | None, tuple[Backbone, DataSplits]] = {}
        self._profiles: dict[Path, Profile] = {}
        self._failed: dict[Path, ExitSearchError] = {}
        self._folders: dict[str, Path] = {}
        self._arguments["num_outputs"] = self._arguments["num_outputs"] or self._outputs()
        known = None if self._given is None else list(dict.fromkeys(head.head for head in self._given.heads))
        self._heads = TurnedHeads(args, space, name=self._name, made_with=self._arguments, known=known)
        self.space, self.limits = self._heads.space, self.named(space.limits)

    @property
    def key(self) -> str:
        """All that values depend on besides the setting: model, data, training and machine."""
        facts = [*self._sources, self._arguments, repr(self._heads), self._recipe, self._args.seed]
        facts += [self._args.max_seconds, self._machine(self.otherwise)]
        if self._given is not None:
            return repr([*facts, self._given.identity, self._data])
        sizes: list[int | None] = [*self._space.knobs.input_size]
        for size in sizes or [self.otherwise.input_size]:
            try:
                _, data = self._trained(size)
                return repr([*facts, data.name, data.identity])
            except ExitSearchError:
                continue  # a size that the backbone refuses; every setting will say so
        return repr(facts)

    def named(self, limits: Limits) -> Limits:
        """Limits whose exits are named as candidates are.

        Raises:
            InputError: a head that is a candidate in no setting.
        """
        return self._heads.limits(limits, self.otherwise)

    def profile(self, setting: Setting) -> Profile:
        """Costs under a setting's condition, of the heads of every setting."""
        self._heads.groups([setting])  # heads that fit nowhere are said before anything is measured
        exits = self._heads.everywhere(setting)
        path = self._profile_path(setting, exits)
        if path in self._failed:
            raise self._failed[path]
        if path not in self._profiles:
            # One at a time: two measurements at once would disturb each other.
            with alone(PROFILES_FOLDER / "measuring"):
                if not path.exists():
                    try:
                        self._measure(setting, exits, path)
                    except ExitSearchError as error:
                        self._failed[path] = error
                        raise
            self._profiles[path] = Profile.read(path)
        return self._profiles[path]

    def outcomes(self, settings: Sequence[Setting]) -> Outcomes:
        """Values of these settings' heads, fully trained, in their condition."""
        if self._given is not None:
            parts = [(Path(self._args.outcomes), self._given)]
        else:
            groups = self._heads.groups(settings)
            parts = [self._train(label, exits, settings[0].input_size) for label, exits in groups.items()]
        if settings[0].dtype == "fp32" and len(parts) == 1:
            folder, found = parts[0]
        else:
            folder, found = self._score(parts, settings[0])
        self._folders[found.identity] = folder
        return found

    def sources(self, setting: Setting, config: MultiExitConfig) -> dict[str, str]:
        """The profile that a configuration was chosen with, and the folder with its heads."""
        profile = self._profile_path(setting, self._heads.everywhere(setting))
        return {"profile": str(profile), "outcomes": str(self._folders[config.outcomes["identity"]])}

    def early_outcomes(self, setting: Setting, *, epoch: int) -> Outcomes:
        """Values of a setting's heads after so many epochs of the whole training, in fp32."""
        from exitsearch.learn.scored import merged_scores

        groups = self._heads.groups([setting])
        return merged_scores([self._train(k, exits, setting.input_size, until=epoch)[1] for k, exits in groups.items()])

    def _given_outcomes(self) -> Outcomes | None:
        """Outcomes that were named, where no knob changes what heads learn."""
        if not self._args.outcomes:
            return None
        from exitsearch.specs.load import load_outcomes

        if self._space.knobs.need_training:
            raise InputError(
                "--outcomes cannot be combined with knobs that heads are trained for (input_size, heads); leave it "
                "out, and name the data with --data"
            )
        metric: Metric = self._args.metric or "accuracy"
        found = load_outcomes(self._args.outcomes, metric=metric, backbone=self._name)
        if self._space.knobs.dtype not in ([], ["fp32"]) and found.samples(found.choice_split) is None:
            raise InputError(
                f"{self._args.outcomes} holds scores alone, and the knob dtype needs heads to score in another dtype; "
                "train them with exitsearch train-heads, or leave the knob out"
            )
        return found

    def _outputs(self) -> int | None:
        from exitsearch.learn.data import data_outputs

        if self._given is not None:
            return self._given.backbone.num_outputs
        assert self._data is not None
        return data_outputs(self._data, task=self._arguments["task"])

    def _made_with(self, size: int | None) -> dict[str, Any]:
        return self._arguments if size is None else {**self._arguments, "image_size": size}

    def _trained(self, size: int | None) -> tuple[Backbone, DataSplits]:
        """The backbone at an input size with its weights, and the data prepared for it; the last one is kept."""
        from exitsearch.learn.data import load_data

        if size not in self._made:
            backbone = train_command.trained_backbone(self._name, self._made_with(size))
            data = load_data(
                self._data or train_command.data_name(self._args, self._name),
                backbone=backbone,
                task=backbone.facts.task,
            )
            self._made = {size: (backbone, data)}
        return self._made[size]

    def _folder(self, data: DataSplits, label: str, digest: str) -> Path:
        return OUTCOMES_FOLDER / f"{self._name.split('.')[0]}__{Path(data.name).name}__{label}__{digest}"

    def _train(self, label: str, exits: Exits, size: int | None, *, until: int | None = None) -> tuple[Path, Outcomes]:
        """Train some heads, to the end or until an epoch; returns the folder and the outcomes."""
        from exitsearch.cli import console
        from exitsearch.learn.bank import bank_digest, train_bank
        from exitsearch.search.knobs import looks

        backbone, data = self._trained(size)
        digest = bank_digest(backbone, data, exits=exits, recipe=self._recipe, seed=self._args.seed)
        folder = self._folder(data, quote(label, safe="(),="), _digest(digest, self._sources))
        # A training to the end also keeps the scores at which a later search may look early.
        stops = looks(self.epochs) if self._space.knobs.need_training and not (folder / DOCUMENT_NAME).exists() else []
        words = f"training {label} at {'x'.join(map(str, backbone.input_size[1:]))} pixels"
        with alone(folder), console.progress(words) as report, options.torch_threads(self._args.threads):
            for stop in [*stops, None] if until is None else [until]:
                outcomes = train_bank(
                    backbone,
                    data,
                    out=folder,
                    exits=exits,
                    recipe=self._recipe,
                    seed=self._args.seed,
                    device=self._device,
                    until=stop,
                    progress=report,
                )
        return folder, outcomes

    def _score(self, parts: list[tuple[Path, Outcomes]], setting: Setting) -> tuple[Path, Outcomes]:
        """Let trained heads answer together in a setting's dtype; returns the folder and the outcomes."""
        from exitsearch.cli import console
        from exitsearch.learn.scored import score_banks
        from exitsearch.measure.machine import resolve_dtype

        backbone, data = self._trained(setting.input_size)
        identities = sorted(outcomes.identity for _, outcomes in parts)
        folder = self._folder(data, setting.dtype, _digest(identities, setting.dtype))
        words = f"heads answer in {setting.dtype}"
        with alone(folder), console.progress(words), options.torch_threads(self._args.threads):
            outcomes = score_banks(
                backbone,
                data,
                banks=[bank if bank.is_dir() else bank.parent for bank, _ in parts],
                out=folder,
                dtype=resolve_dtype(setting.dtype),
                device=self._device,
            )
        return folder, outcomes

    def _machine(self, setting: Setting) -> dict[str, Scalar]:
        """Without which times cannot be compared."""
        from exitsearch.measure.machine import fingerprint

        return fingerprint(
            self._device,
            dtype=setting.dtype,
            batch_size=setting.batch_size,
            input_size=(1, setting.input_size or 0, setting.input_size or 0),
            threads=setting.threads,
            runtime=setting.runtime,
        ).identity

    def _profile_path(self, setting: Setting, exits: Exits) -> Path:
        facts = [self._machine(setting), self._sources, self._arguments, _library(setting.runtime), self._energy]
        facts += [self._args.max_seconds, self._args.seed]
        digest = _digest(exits, facts)
        size = f"__{setting.input_size}px" if setting.input_size else ""
        name = f"{self._name.split('.')[0].replace('/', '_')}__{self._device.type}__{setting.dtype}"
        batch = f"bs{setting.batch_size}__{setting.runtime}__t{setting.threads}"
        return PROFILES_FOLDER / f"{name}__{batch}{size}__{digest}.json"

    def _measure(self, setting: Setting, exits: Exits, path: Path) -> None:
        """Measure in a process of its own: a crash fails this setting alone, and a runtime may take its own threads.

        Raises:
            UnavailableError: there is no such thing here; says what.
            ExitSearchError: it failed, and may succeed another time; says how.
        """
        from exitsearch.cli import console

        command: dict[str, Any] = {
            "--model": self._name,
            "--heads": ",".join(dict.fromkeys(text for _, text in exits)),
            "--placements": ",".join(map(str, sorted({place for place, _ in exits}))),
            "--num-outputs": self._arguments["num_outputs"],
            "--device": self._device,
            "--dtype": setting.dtype,
            "--runtime": setting.runtime,
            "--threads": setting.threads,
            "--batch-size": setting.batch_size,
            "--image-size": setting.input_size,
            "--max-seconds": self._args.max_seconds,
            "--seed": self._args.seed,
            "--space": self._args.space,
            "--plugin": self._args.plugin,
            "--out": path,
        }
        words = [str(word) for pair in command.items() if pair[1] is not None for word in pair]
        words += ["--energy"] if self._energy else []
        with console.progress(f"measuring {setting.condition}"):
            done = subprocess.run(
                [sys.executable, "-m", "exitsearch", "profile", *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        if done.returncode in (130, -signal.SIGINT):
            raise KeyboardInterrupt
        if done.returncode < 0:
            raise ExitSearchError(f"the process that measured it was ended by signal {-done.returncode}")
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it failed without a word"])[-1]
            kind = UnavailableError if done.returncode == InputError.exit_status else ExitSearchError
            raise kind(last.removeprefix("exitsearch: "))


def _library(runtime: str) -> str | None:
    """The version of the package that a runtime is named after; times change with it. None where there is none."""
    try:
        return metadata.version(runtime)
    except metadata.PackageNotFoundError:
        return None


def _digest(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes out while something is made that stands at a path. A lock ends with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.name != "posix":
        yield
        return
    import fcntl

    with (path.parent / f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
