"""Opening studies in Optuna's storages: a journal file, a database by its URL, or a gRPC proxy before one."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Literal
from urllib.parse import urlsplit

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import Study

from exitsearch.errors import ExitSearchError, InputError, UnavailableError

Direction = Literal["maximize", "minimize"]

# A server on the way up answers within a second or two; a wrong address never does.
_PROXY_ANSWERS_S = 5.0
# Bytes that are looked through for the last whole line of a journal; Optuna writes some hundred a line.
_LONGEST_LINE = 2**20
# What Optuna's journals begin with: the first key of the first line.
_JOURNAL_BEGINS = b'{"op_code":'


def open_study(name: str, storage: str | None, *, directions: Sequence[Direction] = ("maximize",)) -> Study:
    """The study of that name, new or as others left it.

    Args:
        name: its name in the storage.
        storage: None keeps it in memory; `FILE.journal`, `journal:///FILE`, `sqlite:///FILE` or another URL that
            Optuna takes; `grpc://HOST:PORT` for Optuna's proxy.
        directions: of each objective, `maximize` or `minimize`.

    Raises:
        InputError: the storage cannot be opened.
        UnavailableError: it needs a package that is not installed, or no proxy answers there.
    """
    try:
        return optuna.create_study(
            study_name=name, storage=open_storage(storage), directions=list(directions), load_if_exists=True
        )
    except ImportError as error:
        raise UnavailableError(
            f"the storage {shown(storage)} needs a package that is not installed ({error}); install it, or use a "
            ".journal file"
        ) from None
    except InputError:
        raise  # ours, a sentence already
    except Exception as error:
        # Storages are third-party drivers behind one URL, each with its own errors.
        raise InputError(
            f"the storage {shown(storage)} cannot be opened ({reason(error)}); "
            "write FILE.journal, sqlite:///FILE or another URL that Optuna takes"
        ) from None


@contextmanager
def answering(name: str) -> Iterator[None]:
    """While a study is used: what its storage raises becomes one sentence.

    Raises:
        ExitSearchError: the storage stopped answering.
    """
    try:
        yield
    except failures() as error:
        raise ExitSearchError(
            f"the storage of the study {name} failed ({reason(error)}); run the same command again to go on: "
            "what was finished is kept"
        ) from error


def open_storage(storage: str | None) -> str | BaseStorage | None:
    """What Optuna takes as the storage of that name."""
    if storage is None:
        return None
    if storage.startswith("grpc://"):
        return _proxy(storage)
    if storage.startswith("journal:///"):
        path = Path(storage.removeprefix("journal:///"))
    elif storage.endswith(".journal") and "://" not in storage:
        path = Path(storage)
    elif "://" in storage:
        return storage
    else:
        raise InputError(
            f"a storage is FILE.journal or a URL such as sqlite:///study.db, found {storage!r}; write it in that form"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        with open(path, "rb") as file:
            _check_journal(file, path)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=KernelLock(path) if os.name == "posix" else None))


def _proxy(storage: str) -> BaseStorage:
    """Optuna's gRPC proxy at an address, once it has answered."""
    address = urlsplit(storage)
    try:
        host, port = address.hostname, address.port
    except ValueError:
        host, port = None, None
    if host is None or port is None or address.path not in ("", "/"):
        raise InputError(
            f"the address of a gRPC proxy is grpc://HOST:PORT, found {storage!r}; "
            "write it in that form, as grpc://localhost:13000"
        )
    try:
        for package in ("grpc", "google.protobuf"):
            import_module(package)
    except ImportError:
        raise UnavailableError(
            f"the storage {storage} needs the packages grpcio and protobuf; pip install grpcio protobuf, or use a "
            ".journal file"
        ) from None
    proxy = GrpcStorageProxy(host=host, port=port)
    try:
        proxy.wait_server_ready(timeout=_PROXY_ANSWERS_S)
    except ConnectionError:
        proxy.close()
        raise UnavailableError(
            f"no gRPC proxy answers at {host}:{port} within {_PROXY_ANSWERS_S:g} s; start one there with "
            "optuna.storages.run_grpc_proxy_server (docs/searching.md shows how), or mend the address"
        ) from None
    return proxy


def _check_journal(file: IO[bytes], path: Path) -> None:
    """Whether a file may be taken for a journal: it is empty, or begins as Optuna begins one, be it with half a line.

    Raises:
        InputError: it is a file of another kind, which is not ours to write to.
    """
    file.seek(0)
    head = file.read(len(_JOURNAL_BEGINS))
    if not _JOURNAL_BEGINS.startswith(head):
        raise InputError(
            f"the storage {path} cannot be opened: it is no journal of Optuna's and is left as it is; name a new "
            "file, or one that a search made"
        )


def failures() -> tuple[type[Exception], ...]:
    """What a storage raises when it stops answering in the middle of the work."""
    # OSError: a journal on a disk that is full, or in a folder that went away.
    found: tuple[type[Exception], ...] = (StorageInternalError, OSError)
    for module, name in (("sqlalchemy.exc", "SQLAlchemyError"), ("grpc", "RpcError")):
        if module in sys.modules:  # else no storage of that kind is open
            found = (*found, getattr(sys.modules[module], name))
    return found


def shown(storage: str | None) -> str:
    """A storage's URL for people, its password left out."""
    return re.sub(r"(//[^/@:]*):.*@", r"\1:***@", str(storage))


def reason(error: BaseException) -> str:
    """What a storage's driver says, in one line: the first cause's own words."""
    while error.__cause__ is not None:
        error = error.__cause__
    if callable(details := getattr(error, "details", None)):  # gRPC's text is a block of many lines
        return str(details())
    return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)


class KernelLock(JournalFileSymlinkLock):
    """A lock on a journal that the kernel takes back when its process dies.

    Optuna's own lock is a file beside the journal: after a kill everybody waits half a minute for it. A process that is
    killed while it writes leaves half a line, at which every later reader would stop; so it is cut off first.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal = journal
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for the lock and cut off half a line."""
        import fcntl

        self._file = open(self._journal, "r+b")  # noqa: SIM115 closed by release
        fcntl.flock(self._file, fcntl.LOCK_EX)
        _check_journal(self._file, self._journal)  # it may have been replaced since it was opened
        end = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, end - _LONGEST_LINE))
        tail = self._file.read()
        if tail and not tail.endswith(b"\n"):
            self._file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Let others in."""
        assert self._file is not None
        self._file.close()  # which lifts the lock
        self._file = None


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna's own messages only from warnings on."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
