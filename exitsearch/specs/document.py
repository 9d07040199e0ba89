"""What every document shares: strict models, whole-file writing, and errors that name file, key, found and allowed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from exitsearch.errors import ExitSearchError, FileError, InputError, shown
from exitsearch.specs.frames.frame import Framed

# A document larger than this is foreign: the largest real profile (24 placements, 14 head types, all raw samples) is
# below 30 MB, and reading an arbitrary file into memory is how a wrong path becomes a hang.
_LARGEST_BYTES = 512 * 1024 * 1024

_PERMIT = "name a file that this user may read"


class Part(BaseModel):
    """A piece of a document. Frozen, strict about types, unknown keys and NaN or infinite numbers are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def given(cls, what: str, **fields: object) -> Self:
        """One from what a user gave.

        Args:
            what: in words, for the error.
            fields: by name.

        Raises:
            InputError: one is unknown, out of range, or of another kind.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise InputError(f"{validation_sentence(error, what)}; correct it") from None


class Document(Framed, Part):
    """A whole file.

    Subclasses say what they are (`kind`), which `schema_version` they write (`current_version`), and how they look as a
    table (`frame`).

    Attributes:
        schema_version: of the format; a file of a newer one than the program knows is refused, an older one still read.
    """

    kind: ClassVar[str]
    current_version: ClassVar[int] = 1
    schema_version: int

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read and check a JSON or TOML file.

        Raises:
            FileError: naming the file, the key, what was found and what is allowed.
        """
        return cls.parse(read_data(path), path)

    @classmethod
    def parse(cls, data: object, path: Path | str) -> Self:
        """Check data already read from `path`; `path` only names the file in errors."""
        if not isinstance(data, dict):
            raise FileError(path, f"a {cls.kind} is one table of keys and values, found {shown(data)}")
        version = data.get("schema_version")
        if "schema_version" not in data:
            raise FileError(path, f"not a {cls.kind}: the key schema_version is missing")
        if type(version) is not int or version < 1:
            raise FileError(path, f"schema_version must be a whole number from 1, found {shown(version)}")
        if version > cls.current_version:
            raise FileError(
                path,
                f"schema_version {version} is newer than the {cls.current_version} that this exitsearch reads",
                remedy="upgrade exitsearch, or make the file again with this one",
            )
        data = cls.upgrade(data, version)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise FileError(path, validation_sentence(error, cls.kind)) from None
        except FileError:
            raise
        except InputError as error:  # a rule of a part that users give elsewhere too
            raise FileError(path, str(error), remedy="") from None

    @classmethod
    def upgrade(cls, data: dict[str, Any], version: int) -> dict[str, Any]:
        """Bring data of an older schema version to the current one; subclasses extend it as versions come."""
        return data

    def write(self, path: Path | str) -> Path:
        """Write the document as JSON, whole or not at all."""
        return write_json(path, self.model_dump(mode="json"))

    @property
    def identity(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the content: the same content, the same identity."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def validation_sentence(error: ValidationError, kind: str) -> str:
    """The first fault of a pydantic error as one sentence: key, rule, found."""
    fault = error.errors(include_url=False)[0]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    match fault["type"]:
        case "missing":
            return f"the key {key} of a {kind} is missing{more}"
        case "extra_forbidden":
            return f"the key {key} is unknown in a {kind}; remove it or correct its name{more}"
        case "value_error":
            # Our own validators word their rule themselves.
            return f"{key + ': ' if key else ''}{fault['msg'].removeprefix('Value error, ')}{more}"
        case _:
            rule = fault["msg"].removeprefix("Input ")
            return f"{key} {rule}, found {shown(fault['input'])}{more}"


def read_data(path: Path | str) -> object:
    """The content of a `.toml` or `.json` file as plain data.

    Raises:
        FileError: when it is missing, too large, not UTF-8, or not valid TOML or JSON (truncated, say).
    """
    path = Path(path)
    text = read_text(path)
    try:
        if path.suffix == ".toml":
            return tomllib.loads(text)
        return json.loads(text, parse_constant=_refuse_constant)
    except tomllib.TOMLDecodeError as error:
        raise FileError(path, f"not valid TOML: {error}") from None
    except json.JSONDecodeError as error:
        raise FileError(path, f"not valid JSON (truncated or foreign?): {error}") from None
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"not valid JSON: {error}") from None


def read_text(path: Path | str) -> str:
    """The text of a file of reasonable size, without the byte-order mark that spreadsheets put before it.

    Raises:
        FileError: when it is missing, unreadable, too large or not UTF-8.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            raise FileError(
                path,
                f"a file of at most {_LARGEST_BYTES // 2**20} MiB is expected, found {size} bytes",
                remedy="name another file",
            )
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileError(path, "no such file", remedy="check its name") from None
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}", remedy=_PERMIT) from None
    except UnicodeDecodeError:
        raise FileError(path, "a text file in UTF-8 is expected, found other bytes") from None


def check_readable(path: Path | str, *, missing: str = "no such file", remedy: str = "check its name") -> None:
    """Whether a file that others will open can be opened: libraries have their own words for it, or none.

    Args:
        missing: what is said where there is none.
        remedy: what to do then.

    Raises:
        FileError: it is missing, a folder, in a folder that may not be read, or its name is too long.
    """
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise FileError(path, missing, remedy=remedy) from None
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}", remedy=_PERMIT) from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that a document may hold")


def write_json(path: Path | str, data: object) -> Path:
    """Write data as JSON, whole or not at all; parent folders are made."""
    return write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def write_text(path: Path | str, text: str) -> Path:
    """Write a text file under a temporary name and rename it, so that a kill never leaves half a file.

    Raises:
        FileError: when the folder or file cannot be written.
        ExitSearchError: when the disk is full.
    """
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Like `write_text`, for bytes."""
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes private files; a document is for everyone
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise unwritable(path, error) from None
    return path


# No space, no quota, and a file larger than may be.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def unwritable(path: Path | str, error: Exception) -> ExitSearchError:
    """The error for a file that could not be written: a full disk is nothing that was asked for wrongly.

    Args:
        path: of the file.
        error: of the system, or of a library that has put the system's number into its text.
    """
    found = re.search(r"(?:os error|Os \{ code:) (\d+)", str(error))  # safetensors; the second before 0.5
    number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
    reason = os.strerror(number) if number else str(error)
    if number in _FULL:
        return ExitSearchError(
            f"{path}: cannot be written: {reason}; make room and run the same command again: what was finished is kept"
        )
    return FileError(path, f"cannot be written: {reason}", remedy="name another place, or let this user write there")
