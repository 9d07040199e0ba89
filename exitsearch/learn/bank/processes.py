"""Processes: several that train one bank together, each its share of the heads, as torchrun and accelerate start them.

    torchrun --nproc-per-node 2 -m exitsearch train-heads ...
    accelerate launch -m exitsearch train-heads ...

The first one decides what is to be trained and by whom, the others hear of it, every one trains its share and sends the
weights to the first, which writes the documents. No gradients are exchanged: heads do not see each other. What passes
between the processes is JSON and tensors, over torch.distributed's gloo, which runs wherever torch does and notices the
end of a process.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from exitsearch.errors import ExitSearchError, InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

# The first one waits for the slowest share, however long that takes.
_LONGEST = datetime.timedelta(days=365)


class Processes:
    """This process among those that train together.

    Attributes:
        rank: number of this one, from 0.
        count: how many there are.
        local_rank: number of this one on its machine, from 0: which of its GPUs is meant.
    """

    def __init__(self, *, rank: int = 0, count: int = 1, local_rank: int = 0) -> None:
        assert 0 <= rank < count
        self.rank, self.count, self.local_rank = rank, count, local_rank
        self._group: Any = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Processes:
        """As torchrun and accelerate say it in the environment: RANK, WORLD_SIZE, LOCAL_RANK; otherwise one alone.

        Raises:
            InputError: numbers that cannot be.
        """
        texts = {name: environment.get(name, default) for name, default in _ENVIRONMENT.items()}
        try:
            rank, count, local = (int(text) for text in texts.values())
        except ValueError:
            rank, count, local = -1, 0, 0
        if not (0 <= rank < count and local >= 0):
            found = ", ".join(f"{name}={text}" for name, text in texts.items())
            raise InputError(
                f"the environment must say which process this is of how many (0 <= RANK < WORLD_SIZE), found {found}; "
                "unset these, or start with torchrun"
            )
        return cls(rank=rank, count=count, local_rank=local)

    @property
    def first(self) -> bool:
        """Whether this one decides and writes."""
        return self.rank == 0

    def own_device(self, device: str) -> str:
        """The device of this one: where all were given `cuda`, each on a machine takes a GPU of its own."""
        return f"cuda:{self.local_rank}" if device == "cuda" and self.count > 1 else device

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """The connection between them, inside.

        Raises:
            ExitSearchError: another process cannot be reached, or has ended.
        """
        if self.count == 1:
            yield
            return
        from torch import distributed

        mine = not distributed.is_initialized()
        with _said():
            if mine:
                distributed.init_process_group("gloo", rank=self.rank, world_size=self.count, timeout=_LONGEST)
            self._group = distributed.new_group(backend="gloo", timeout=_LONGEST)
        try:
            yield
        finally:
            self._group = None
            if mine:
                distributed.destroy_process_group()

    def from_first(self, decide: Callable[[], Any]) -> Any:
        """What the first one decides, as JSON holds it; where that raises one of our errors, all of them raise it."""
        if self.count == 1:
            return decide()
        if not self.first:
            said = self._receive(0)
            if "error" in said:
                raise ExitSearchError(said["error"])
            return said["value"]
        try:
            said = {"value": json.loads(json.dumps(decide()))}
        except ExitSearchError as error:
            self._tell_all({"error": str(error)})
            raise
        self._tell_all(said)
        return said["value"]

    def to_first(self, value: Any) -> list[Any]:
        """What each of them has to say, in the order of their ranks, for the first one; the others get nothing."""
        if not self.first:
            self._send(0, value)
            return []
        return [value, *(self._receive(rank) for rank in range(1, self.count))]

    def send_state(self, module: nn.Module, *, rank: int) -> None:
        """Send a module's weights and buffers to another one."""
        from torch import distributed

        for tensor in _tensors(module):
            with _said():
                distributed.send(_bytes(tensor), rank, group=self._group)

    def receive_state(self, module: nn.Module, *, rank: int) -> None:
        """Take over the weights and buffers that another one sends of the same module."""
        import torch
        from torch import distributed

        for tensor in _tensors(module):
            found = torch.empty_like(_bytes(tensor))
            with _said():
                distributed.recv(found, rank, group=self._group)
            with torch.no_grad():
                tensor.copy_(found.view(tensor.dtype).reshape(tensor.shape))

    def state_of_first(self, module: nn.Module) -> None:
        """Give all of them the weights and buffers that a module has in the first one."""
        if not self.first:
            self.receive_state(module, rank=0)
            return
        for rank in range(1, self.count):
            self.send_state(module, rank=rank)

    def _tell_all(self, value: Any) -> None:
        for rank in range(1, self.count):
            self._send(rank, value)

    def _send(self, rank: int, value: Any) -> None:
        import torch
        from torch import distributed

        content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        with _said():
            distributed.send(torch.tensor([len(content)]), rank, group=self._group)
            distributed.send(content, rank, group=self._group)

    def _receive(self, rank: int) -> Any:
        import torch
        from torch import distributed

        length = torch.zeros(1, dtype=torch.int64)
        with _said():
            distributed.recv(length, rank, group=self._group)
            content = torch.empty(int(length), dtype=torch.uint8)
            distributed.recv(content, rank, group=self._group)
        return json.loads(bytes(content.numpy()))


# What is asked of the environment, and what holds where it says nothing.
_ENVIRONMENT = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


def _tensors(module: nn.Module) -> list[Tensor]:
    """Everything in a module's state, in an order that is the same in every process; nothing that is empty."""
    return [tensor for tensor in module.state_dict().values() if tensor.numel()]


def _bytes(tensor: Tensor) -> Tensor:
    """A tensor's content as bytes on the CPU: gloo does not know every dtype."""
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """A lost connection in one sentence."""
    try:
        yield
    except RuntimeError as error:  # of gloo and of the meeting point alike
        raise ExitSearchError(
            f"another process of this training cannot be reached, or has ended ({str(error).splitlines()[0]}); start "
            "all of them again with the same command: they go on from their checkpoints"
        ) from None
