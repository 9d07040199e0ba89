"""Options that several commands share, and how they are read."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from exitsearch.errors import shown

if TYPE_CHECKING:
    from exitsearch.pipeline.backbone import BackboneRequest
    from exitsearch.pipeline.outcomes import Training
    from exitsearch.search.utility import Utility
    from exitsearch.specs.question.candidates import Candidates
    from exitsearch.specs.question.request import SearchRequest
    from exitsearch.specs.question.space import SearchSpace


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model` and what the backbone is made with."""
    group = parser.add_argument_group("backbone")
    group.add_argument("--model", metavar="M", help="timm's name of the model (default: the embedded digits ViT)")
    group.add_argument("--num-outputs", type=positive_int, metavar="N", help="classes, or regression targets")
    group.add_argument("--image-size", type=positive_int, metavar="PIXELS", help="side of the input")
    group.add_argument(
        "--in-chans", type=positive_int, metavar="N", help="channels of the input: 1 for greys and sound"
    )
    group.add_argument(
        "--side",
        metavar="NAME=CxHxW",
        help="further inputs that heads may read, as audio=1x32x64 for a column of sounds",
    )
    group.add_argument(
        "--pretrained",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="insist on pretrained weights, or do without",
    )
    group.add_argument("--checkpoint", type=Path, metavar="FILE", help="local safetensors weights of the backbone")


def add_candidates(parser: argparse.ArgumentParser) -> None:
    """Which heads and placements are candidates."""
    group = parser.add_argument_group("candidates")
    group.add_argument(
        "--heads", metavar="A,B", help="head types, with options as gah(stride=2) (default: all that fit)"
    )
    group.add_argument(
        "--placements",
        metavar="0,2,4-8",
        help="placements: numbers, modules (layers.2.*), every:10%% of the MACs, stages (default: all)",
    )
    group.add_argument("--space", type=Path, metavar="S", help="search space, a TOML file (see search_spaces/)")
    group.add_argument("--plugin", type=Path, metavar="FILE", help="Python file that registers exit heads of your own")


def add_machine(parser: argparse.ArgumentParser) -> None:
    """The condition that is measured."""
    group = parser.add_argument_group("condition")
    group.add_argument("--device", default=None, help="cpu or cuda (default: cpu)")
    group.add_argument("--threads", type=positive_int, metavar="N", help="CPU threads (default: torch's own number)")


def add_data(parser: argparse.ArgumentParser, *, batch_size: bool = False) -> None:
    """What heads are trained on, and how.

    Args:
        batch_size: with `--batch-size`, which in other commands is what is measured.
    """
    group = parser.add_argument_group("training")
    group.add_argument(
        "--data",
        metavar="D",
        help="digits, a folder of images with train/ and val/, audio-folder: and one of recordings, or as "
        "torch/fashion_mnist a data set that timm knows",
    )
    group.add_argument("--data-dir", metavar="DIR", help="where data sets that have a name are kept (default: data)")
    group.add_argument("--download", action="store_true", help="fetch what is missing there")
    group.add_argument("--workers", type=count, metavar="N", help="processes that read images (default: one a core)")
    group.add_argument("--recipe", metavar="R", help="how heads are trained (default: frozen)")
    group.add_argument("--epochs", type=positive_int, metavar="N", help="instead of the recipe's own number")
    group.add_argument("--augment", metavar="A,B", help="changes of training inputs: flip, specaugment")
    if batch_size:
        group.add_argument("--batch-size", type=positive_int, metavar="N", help="inputs of a step, instead of its own")
    group.add_argument("--lr", type=finite, metavar="R", help="learning rate, instead of the recipe's own")
    group.add_argument("--metric", choices=("accuracy", "mae"), help="what is maximised or minimised")


def add_seed(parser: argparse.ArgumentParser) -> None:
    """`--seed`."""
    parser.add_argument("--seed", type=count, default=0, metavar="N", help="seed of everything random (default: 0)")


def add_utility(parser: argparse._ActionsContainer) -> None:
    """`--worth` and `--class-weights`."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--worth", metavar="FILE.py:FUNCTION", help="what each answer is worth instead of the metric")
    group.add_argument("--class-weights", type=Path, metavar="FILE.csv", help="label,weight: class-weighted accuracy")


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout instead of tables")


def positive_int(text: str) -> int:
    """A whole number from 1, for argparse."""
    from exitsearch.specs.table import whole_number

    number = whole_number(text.removeprefix("+"))
    if not number:
        raise argparse.ArgumentTypeError(f"a whole number from 1 is needed, found {shown(text)}")
    return number


def count(text: str) -> int:
    """A whole number from 0, for argparse."""
    from exitsearch.specs.table import whole_number

    number = whole_number(text)
    if number is None:
        raise argparse.ArgumentTypeError(f"a whole number from 0 is needed, found {shown(text)}")
    return number


def finite(text: str) -> float:
    """A number that is neither infinite nor NaN, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"a finite number is needed, found {shown(text)}")
    return number


def not_negative(text: str) -> float:
    """A number from 0, for argparse."""
    number = finite(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"a number from 0 is needed, found {shown(text)}")
    return number


def seconds(text: str) -> float:
    """A number of seconds above 0, for argparse."""
    number = finite(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"a number of seconds above 0 is needed, found {shown(text)}")
    return number


def share(text: str) -> float:
    """A share above 0 and below 1, as 2% or 0.02, for argparse."""
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = -1.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"a share such as 2% or 0.02 is needed, found {shown(text)}")
    return number


def load_plugin(args: argparse.Namespace) -> None:
    """Register the user's own heads before any head is named."""
    if args.plugin is not None:
        from exitsearch.models import heads

        heads.load_plugin(args.plugin)


def read_space(args: argparse.Namespace) -> SearchSpace | None:
    """The search space of `--space`, or None."""
    from exitsearch.specs.load import load_space

    return None if args.space is None else load_space(args.space)


def read_candidates(args: argparse.Namespace, space: SearchSpace | None) -> Candidates:
    """What `--heads`, `--placements` and the space allow together."""
    from exitsearch.specs.question.candidates import Candidates

    return Candidates.of(heads=args.heads, placements=args.placements, space=space)


def read_backbone(args: argparse.Namespace, space: SearchSpace | None, *, metric: str | None = None) -> BackboneRequest:
    """The backbone that is meant, and what it is made with."""
    from exitsearch.pipeline.backbone import BackboneRequest

    return BackboneRequest.asked(
        args.model,
        space=space,
        pretrained=args.pretrained,
        checkpoint=args.checkpoint,
        num_outputs=args.num_outputs,
        image_size=args.image_size,
        in_chans=args.in_chans,
        side_inputs=args.side,
        task="regression" if metric == "mae" else "classification",
        seed=args.seed,
    )


def read_training(args: argparse.Namespace, *, batch_size: bool = False) -> Training:
    """How heads are trained.

    Args:
        batch_size: whether `--batch-size` is that of training.
    """
    from exitsearch.pipeline.outcomes import RECIPE, Training

    return Training(
        data=args.data,
        data_dir=args.data_dir,
        download=args.download,
        workers=args.workers,
        recipe=args.recipe or RECIPE,
        epochs=args.epochs,
        augment=args.augment,
        batch_size=args.batch_size if batch_size else None,
        learning_rate=args.lr,
        metric=args.metric,
        device=args.device or "cpu",
        threads=args.threads,
        seed=args.seed,
    )


def read_request(args: argparse.Namespace, space: SearchSpace | None, utility: Utility | None) -> SearchRequest:
    """The question of a search.

    Raises:
        InputError: an option that cannot be read, is out of range, or cannot be asked together with another.
    """
    from exitsearch.specs.question.request import SearchRequest

    return SearchRequest.asked(
        budget=args.budget_dist,
        policy=args.policy,
        score=args.confidence,
        quantile=args.quantile,
        fallback=args.fallback,
        metric=args.metric,
        worth=None if utility is None else utility.name,
        objectives=args.objectives or (),
        heads=args.heads,
        placements=args.placements,
        space=space,
        max_exits=args.max_exits,
        max_extra_params=args.max_extra_params,
        max_memory=args.max_memory,
        max_energy=args.max_energy,
        min_value_at=args.min_value_at,
        force=args.force,
        forbid=args.forbid,
    )


def read_utility(args: argparse.Namespace) -> Utility | None:
    """What an answer is worth instead of the metric, where that was named."""
    from exitsearch.search.utility import load_class_weights, load_utility

    if args.class_weights is not None:
        return load_class_weights(args.class_weights)
    return load_utility(args.worth) if args.worth else None
