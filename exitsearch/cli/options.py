"""Options that several commands share, and how they are read."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exitsearch.errors import shown

if TYPE_CHECKING:
    from exitsearch.specs.placement import Placement
    from exitsearch.specs.space import SearchSpace


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model` and what the backbone is made with."""
    group = parser.add_argument_group("backbone")
    group.add_argument("--model", metavar="M", help="timm's name of the model (default: the embedded digits ViT)")
    group.add_argument("--num-outputs", type=positive_int, metavar="N", help="classes, or regression targets")
    group.add_argument("--image-size", type=positive_int, metavar="PIXELS", help="side of the input")
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


def add_data(parser: argparse.ArgumentParser) -> None:
    """What heads are trained on."""
    group = parser.add_argument_group("training")
    group.add_argument("--data", metavar="D", help="digits, or a folder of images with train/ and val/")
    group.add_argument("--recipe", metavar="R", help="how heads are trained (default: frozen)")
    group.add_argument("--epochs", type=positive_int, metavar="N", help="instead of the recipe's own number")
    group.add_argument("--metric", choices=("accuracy", "mae"), help="what is maximised or minimised")


def add_seed(parser: argparse.ArgumentParser) -> None:
    """`--seed`."""
    parser.add_argument("--seed", type=count, default=0, metavar="N", help="seed of everything random (default: 0)")


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
    if getattr(args, "plugin", None) is not None:
        from exitsearch.models import heads

        heads.load_plugin(args.plugin)


def load_space(args: argparse.Namespace) -> SearchSpace | None:
    """The search space of `--space`, or None."""
    if getattr(args, "space", None) is None:
        return None
    from exitsearch.specs.load import load_space as load

    return load(args.space)


def model_name(args: argparse.Namespace, space: SearchSpace | None = None) -> str:
    """The backbone that is meant: `--model`, the space's, or the embedded default."""
    if args.model:
        return str(args.model)
    if space is not None and space.backbone.name:
        return space.backbone.name
    from exitsearch.specs.backbone import EMBEDDED_NAME

    return EMBEDDED_NAME


def backbone_arguments(
    args: argparse.Namespace, space: SearchSpace | None, *, num_outputs: int | None = None
) -> dict[str, Any]:
    """What `create_backbone` is called with besides the name, as the options and the space say."""
    size: int | tuple[int, int] | None = args.image_size
    if size is None and space is not None and space.backbone.input_size:
        size = (space.backbone.input_size[1], space.backbone.input_size[2])
    return {
        "pretrained": args.pretrained,
        "checkpoint": args.checkpoint,
        "num_outputs": num_outputs or args.num_outputs or (space.backbone.num_outputs if space else None),
        "image_size": size,
        "task": "regression" if getattr(args, "metric", None) == "mae" else "classification",
        "seed": args.seed,
    }


def candidate_heads(args: argparse.Namespace, space: SearchSpace | None) -> list[str] | None:
    """Heads named by `--heads` or by the space; None means every head type that fits."""
    if args.heads:
        from exitsearch.specs.head import split_heads

        return split_heads(args.heads)
    if space is not None and space.heads:
        return list(dict.fromkeys(str(head.choice) for head in space.heads))
    return None


def candidate_placements(
    args: argparse.Namespace, space: SearchSpace | None, count: int, *, placements: Sequence[Placement] = ()
) -> list[int] | None:
    """Placements named by `--placements` or by the space; None means all."""
    from exitsearch.specs.space import select_placements

    text = args.placements or (space.placements if space else None)
    return None if text is None else select_placements(text, count, placements=placements)


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many CPU threads inside; None leaves its own number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
