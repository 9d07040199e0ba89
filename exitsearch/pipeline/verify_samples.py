"""What a bundle is asked when it is verified: samples of the report split with their labels, or random inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.errors import MismatchError
from exitsearch.pipeline.outcomes import Training
from exitsearch.pipeline.watch import Watch
from exitsearch.specs.bundle import Bundle
from exitsearch.specs.side import MAIN_INPUT, Size

if TYPE_CHECKING:
    from exitsearch.deploy.given import Given
    from exitsearch.learn.data import DataSplits
    from exitsearch.runtime import Answer, Session

Array = NDArray[np.float64]

# As many as fit into this, at most so many.
_MOST_BYTES, _MOST = 256 * 2**20, 1000
# Of random inputs, which differ in nothing that times depend on.
_RANDOM = 64
_BATCH = 32


@dataclass(frozen=True)
class AskedSamples:
    """Inputs and what answers to them are worth.

    Attributes:
        inputs: each [channels, height, width]; for a bundle with side inputs, all of them by name.
        targets: class indices [samples], or regression targets [samples, outputs]; None: not known.
        source: the data set; None: random inputs.
    """

    inputs: Sequence[Given]
    targets: NDArray[Any] | None
    source: str | None

    def value(self, sample: int, outputs: NDArray[Any]) -> float:
        """What outputs [num_outputs] are worth: 1 for the right class, or minus the mean absolute error."""
        assert self.targets is not None
        target = self.targets[sample]
        if self.targets.ndim == 1:
            return float(outputs.argmax() == target)
        return -float(np.abs(outputs - target).mean())

    def worth(self, sample: int, answer: Answer, *, values: Sequence[float], fallback: float) -> float:
        """What an answer is worth; where labels are not known, what its exit is stated to be worth."""
        if answer.exit is None or answer.outputs is None:
            return fallback
        return values[answer.exit] if self.targets is None else self.value(sample, answer.outputs)

    def worths(self, session: Session) -> Array | None:
        """What every exit's answer to every sample is worth, without a deadline [exits, samples]; None: not known."""
        if self.targets is None:
            return None
        # One scale holds for a whole batch in int8, so that answers depend on what else is in it.
        step = 1 if session.manifest.precision == "int8" else _BATCH
        found = []
        for begin in range(0, len(self.inputs), step):
            outputs = self.outputs(session, begin, begin + step)
            found.append([[self.value(begin + i, row) for i, row in enumerate(rows)] for rows in outputs])
        return np.concatenate([np.array(part, dtype=np.float64) for part in found], axis=1)

    def outputs(self, session: Session, begin: int, end: int) -> list[NDArray[Any]]:
        """Outputs [batch, num_outputs] of every exit for some of them, without a deadline."""
        from exitsearch.deploy.given import beside, divided_inputs

        taken = [divided_inputs(given) for given in self.inputs[begin:end]]
        side = {name: np.stack([others[name] for _, others in taken]) for name in taken[0][1]}
        return session.every_exit(np.stack([x for x, _ in taken]), **beside(side))


def samples_of(bundle: Bundle, training: Training, *, seed: int, watch: Watch) -> AskedSamples:
    """What is asked of a bundle.

    Args:
        bundle: its manifest.
        training: names the data.
        seed: of random inputs.
        watch: is told where there is no data.

    Raises:
        InputError: the data cannot be read, or is not that of the model.
    """
    if not training.has_data_for(bundle.model.name):
        watch.note("no data was named, so that inputs are random and values are not observed; name it with --data")
        from exitsearch.deploy.given import joined_inputs

        draw = np.random.default_rng(seed)
        sizes = {MAIN_INPUT: bundle.input.size, **_side_sizes(bundle)}
        inputs = [
            joined_inputs({name: draw.standard_normal(size, dtype=np.float32) for name, size in sizes.items()})
            for _ in range(_RANDOM)
        ]
        return AskedSamples(inputs, None, None)
    name = training.data_for(bundle.model.name)
    data = _load(bundle, name, training, watch)
    try:
        if data.num_outputs != bundle.model.num_outputs or data.task != bundle.model.task:
            raise MismatchError(
                f"the bundle's model has {bundle.model.num_outputs} outputs ({bundle.model.task}), the data {name} "
                f"{data.num_outputs} ({data.task}); name the data that it was trained on"
            )
        return _taken(data, bundle, name)
    finally:
        data.close()


def _load(bundle: Bundle, name: str, training: Training, watch: Watch) -> DataSplits:
    from exitsearch.models.backbone import create_backbone

    channels, *size = bundle.input.size
    # Its weights do not matter: it says how samples are prepared.
    backbone = create_backbone(
        bundle.model.name,
        pretrained=False,
        num_outputs=bundle.model.num_outputs,
        image_size=(size[0], size[1]),
        in_chans=channels,
        task=bundle.model.task,
        side_inputs=_side_sizes(bundle),
    )
    return training.load(name, backbone=backbone, watch=watch)


def _taken(data: DataSplits, bundle: Bundle, name: str) -> AskedSamples:
    from exitsearch.deploy.given import joined_inputs
    from exitsearch.models.inputs import main_input, side_inputs

    most = max(1, min(_MOST, _MOST_BYTES // (4 * int(np.prod(bundle.input.size)))))
    # Spread over the split, which may be sorted by class.
    indices = list(range(0, len(data.report), max(1, -(-len(data.report) // most))))
    batch, labels = data.report.batch(indices)
    every = {MAIN_INPUT: main_input(batch), **{name: side_inputs(batch)[name] for name in _side_sizes(bundle)}}
    arrays = {name: values.numpy().astype(np.float32, copy=False) for name, values in every.items()}
    inputs = [joined_inputs({name: array[row] for name, array in arrays.items()}) for row in range(len(indices))]
    targets = labels.numpy()
    if data.task == "regression":
        targets = targets.reshape(len(indices), -1)
    return AskedSamples(inputs, targets, name)


def _side_sizes(bundle: Bundle) -> dict[str, Size]:
    return {side.name: side.size for side in bundle.side_inputs}
