"""Opening studies in Optuna's storages."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import Study

from exitsearch.errors import InputError, UnavailableError

Direction = Literal["maximize", "minimize"]

# Bytes that are looked through for the last whole line of a journal; Optuna writes some hundred a line.
_LONGEST_LINE = 2**20


def open_study(name: str, storage: str | None, *, directions: Sequence[Direction] = ("maximize",)) -> Study:
    """The study of that name, new or as others left it.

    Args:
        name: its name in the storage.
        storage: None keeps it in memory; `FILE.journal`, `journal:///FILE`, `sqlite:///FILE` or another URL that
            Optuna takes.
        directions: of each objective, `maximize` or `minimize`.

    Raises:
        InputError: the storage cannot be opened.
        UnavailableError: it needs a package that is not installed.
    """
    try:
        return optuna.create_study(
            study_name=name, storage=open_storage(storage), directions=list(directions), load_if_exists=True
        )
    except ImportError as error:
        raise UnavailableError(
            f"the storage {storage} needs a package that is not installed ({error}); install it, or use a .journal file"
        ) from None
    except InputError:
        raise
    except Exception as error:
        # Storages are third-party drivers behind one URL, each with its own errors.
        raise InputError(
            f"the storage {storage} cannot be opened ({str(error).splitlines()[0] if str(error) else error!r}); "
            "write FILE.journal, sqlite:///FILE or another URL that Optuna takes"
        ) from None


def open_storage(storage: str | None) -> str | BaseStorage | None:
    """What Optuna takes as the storage of that name."""
    if storage is None:
        return None
    if storage.startswith("journal:///"):
        path = Path(storage.removeprefix("journal:///"))
    elif storage.endswith(".journal") and "://" not in storage:
        path = Path(storage)
    elif "://" in storage:
        return storage
    else:
        raise InputError(f"a storage is FILE.journal or a URL such as sqlite:///study.db, found {storage!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=KernelLock(path) if os.name == "posix" else None))


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
