"""MeasuredSettings: the provider of a search over settings. Measures, trains, and keeps what it did.

What it makes stands under `profiles/knobs/` and `outcomes/knobs/` (`places.py`): one profile a condition, with the
heads of every setting in it; one folder a training, and one where heads of several answer together.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.pipeline import places
from exitsearch.pipeline.apart import MeasuringJob, measure_apart
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.job import SearchJob
from exitsearch.pipeline.outcomes import find_outcomes
from exitsearch.pipeline.places import alone, digest
from exitsearch.pipeline.profile import torch_threads
from exitsearch.pipeline.setting_heads import SettingHeads
from exitsearch.pipeline.watch import Watch
from exitsearch.search.settings import looks
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes
from exitsearch.specs.profile import Profile, Scalar
from exitsearch.specs.question.candidates import Candidates, Pair
from exitsearch.specs.question.knobs import Setting
from exitsearch.specs.question.limits import Limits

if TYPE_CHECKING:
    from exitsearch.learn.data import DataSplits
    from exitsearch.models.backbone import Backbone
    from exitsearch.specs.config import MultiExitConfig


class MeasuredSettings:
    """Measures profiles on this machine and trains heads, as a job says.

    Args:
        job: with a space that has knobs.
        watch: is shown the progress.

    Raises:
        InputError: something that is wrong whatever the setting.

    Attributes:
        epochs: of a whole training.
        otherwise: the values of what is no knob.
    """

    def __init__(self, job: SearchJob, *, watch: Watch) -> None:
        import torch

        from exitsearch.measure.machine.fingerprint import resolve_device
        from exitsearch.measure.runtimes import find_runtime

        assert job.space is not None
        self._job, self._space, self._watch = job, job.space, watch
        backbone = job.backbone_named()
        # Two pretrained models may differ in the tag of their name alone, and a plug-in's heads in its text.
        self._sources = [backbone.name, digest(job.plugin.read_bytes()) if job.plugin else None]
        self._device = resolve_device(job.device or "cpu")
        self._recipe = job.training.asked_recipe()
        self.epochs = self._recipe.epochs
        self.otherwise = Setting(
            dtype="fp32",
            runtime="eager",
            threads=job.measuring.threads or torch.get_num_threads(),
            batch_size=job.batch_size or 1,
            input_size=job.backbone.image_size if isinstance(job.backbone.image_size, int) else None,
        )
        for runtime in self._space.knobs.runtime:
            find_runtime(runtime)
        self._given = self._given_outcomes(backbone.name)
        self._data = None if self._given and not job.training.data else job.training.data_for(backbone.name)
        self._made: dict[int | None, tuple[Backbone, DataSplits]] = {}
        self._profiles: dict[Path, Profile] = {}
        self._failed: dict[Path, ExitSearchError] = {}
        self._folders: dict[str, Path] = {}
        self._backbone = backbone.changed(num_outputs=backbone.num_outputs or self._outputs(backbone))
        known = None if self._given is None else list(dict.fromkeys(head.head for head in self._given.heads))
        self._heads = SettingHeads(job.request.candidates, self._space, backbone=self._backbone, known=known)

    @property
    def key(self) -> str:
        """All that values depend on besides the setting: model, data, training and machine."""
        from exitsearch.learn.bank.identity import recipe_identity

        recipe = recipe_identity(self._recipe)
        facts: list[object] = [*self._sources, self._backbone.key, self._heads.key, recipe, self._job.seed]
        facts += [self._job.measuring.max_seconds, self._machine(self.otherwise)]
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

    def candidates(self, settings: Sequence[Setting]) -> Candidates:
        """What may be chosen: these settings' heads, and where they may stand."""
        return self._heads.candidates(settings)

    def profile(self, setting: Setting) -> Profile:
        """Costs under a setting's condition, of the heads of every setting."""
        self._heads.groups([setting])  # heads that fit nowhere are said before anything is measured
        exits = self._heads.everywhere(setting)
        path = self._profile_path(setting, exits)
        if path in self._failed:
            raise self._failed[path]
        if path not in self._profiles:
            # One at a time: two measurements at once would disturb each other.
            with alone(path.parent / "measuring"):
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
            parts = [(self._given.folder or Path(str(self._job.outcomes)), self._given)]
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

    def _given_outcomes(self, name: str) -> Outcomes | None:
        """Outcomes that were named, where no knob changes what heads learn."""
        source, knobs = self._job.outcomes, self._space.knobs
        if source is None:
            return None
        if knobs.need_training:
            raise InputError(
                "--outcomes cannot be combined with knobs that heads are trained for (input_size, heads); leave it "
                "out, and name the data with --data"
            )
        given = find_outcomes(source, name=name, training=self._job.training, asked_name=name)
        assert given is not None
        found, named = given
        if knobs.dtype not in ([], ["fp32"]) and found.samples(found.choice_split) is None:
            raise InputError(
                f"{named} holds scores alone, and the knob dtype needs heads to score in another dtype; "
                "train them with exitsearch train-heads, or leave the knob out"
            )
        return found

    def _outputs(self, backbone: BackboneRequest) -> int | None:
        if self._given is not None:
            return self._given.backbone.num_outputs
        assert self._data is not None
        return self._job.training.outputs(self._data, task=backbone.task)

    def _at_size(self, size: int | None) -> BackboneRequest:
        return self._backbone if size is None else self._backbone.changed(image_size=size)

    def _trained(self, size: int | None) -> tuple[Backbone, DataSplits]:
        """The backbone at an input size with its weights, and the data prepared for it; the last one is kept."""
        if size not in self._made:
            backbone = self._at_size(size).create_trained(self._watch)
            name = self._data or self._job.training.data_for(self._backbone.name)
            self._made = {size: (backbone, self._job.training.load(name, backbone=backbone, watch=self._watch))}
        return self._made[size]

    def _folder(self, data: DataSplits, label: str, ending: str) -> Path:
        return places.setting_outcomes_folder(self._backbone.name, data.name, label, ending)

    def _train(
        self, label: str, exits: list[Pair], size: int | None, *, until: int | None = None
    ) -> tuple[Path, Outcomes]:
        """Train some heads, to the end or until an epoch; returns the folder and the outcomes."""
        from exitsearch.learn.bank.train import bank_digest, train_bank

        backbone, data = self._trained(size)
        seed = self._job.seed
        whole = bank_digest(backbone, data, exits=exits, recipe=self._recipe, seed=seed)
        folder = self._folder(data, quote(label, safe="(),="), digest(whole, self._sources))
        # A training to the end also keeps the scores at which a later search may look early.
        stops = looks(self.epochs) if self._space.knobs.need_training and not (folder / DOCUMENT_NAME).exists() else []
        words = f"training {label} at {'x'.join(map(str, backbone.input_size[1:]))} pixels"
        with alone(folder), self._watch.progress(words) as report, torch_threads(self._job.training.threads):
            for stop in [*stops, None] if until is None else [until]:
                outcomes = train_bank(
                    backbone,
                    data,
                    out=folder,
                    exits=exits,
                    recipe=self._recipe,
                    seed=seed,
                    device=self._device,
                    until=stop,
                    progress=report,
                    note=self._watch.note,
                )
        return folder, outcomes

    def _score(self, parts: list[tuple[Path, Outcomes]], setting: Setting) -> tuple[Path, Outcomes]:
        """Let trained heads answer together in a setting's dtype; returns the folder and the outcomes."""
        from exitsearch.learn.scored import score_banks
        from exitsearch.measure.machine.fingerprint import resolve_dtype

        backbone, data = self._trained(setting.input_size)
        identities = sorted(outcomes.identity for _, outcomes in parts)
        folder = self._folder(data, setting.dtype, digest(identities, setting.dtype))
        words = f"heads answer in {setting.dtype}"
        with alone(folder), self._watch.progress(words), torch_threads(self._job.training.threads):
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
        from exitsearch.measure.machine.fingerprint import fingerprint

        return fingerprint(
            self._device,
            dtype=setting.dtype,
            batch_size=setting.batch_size,
            input_size=(1, setting.input_size or 0, setting.input_size or 0),
            threads=setting.threads,
            runtime=setting.runtime,
        ).identity

    def _profile_path(self, setting: Setting, exits: list[Pair]) -> Path:
        facts: list[object] = [self._machine(setting), self._sources, self._backbone.key, _library(setting.runtime)]
        facts += [self._job.request.needs_energy, self._job.measuring.max_seconds, self._job.seed]
        return places.setting_profile_file(self._backbone.name, self._device.type, setting, digest(exits, facts))

    def _measure(self, setting: Setting, exits: list[Pair], path: Path) -> None:
        measuring = self._job.measuring.model_copy(
            update={
                "device": str(self._device),
                "dtype": setting.dtype,
                "batch_sizes": (setting.batch_size,),
                "threads": setting.threads,
                "runtime": setting.runtime,
                "energy": self._job.request.needs_energy,
            }
        )
        # Weights change no times, and random ones are quicker to be had.
        model = self._at_size(setting.input_size).changed(pretrained=None, checkpoint=None)
        with self._watch.progress(f"measuring {setting.condition}"):
            measure_apart(
                MeasuringJob(model=model, measuring=measuring, exits=exits, plugin=self._job.plugin, out=path)
            )


def _library(runtime: str) -> str | None:
    """The version of the package that a runtime is named after; times change with it. None where there is none."""
    try:
        return metadata.version(runtime)
    except metadata.PackageNotFoundError:
        return None
