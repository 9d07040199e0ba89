"""The folder of a model that was saved: here, or fetched from the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

from exitsearch.errors import FileError, UnavailableError

CONFIG_FILE = "chosen.json"
MODEL_FILE = "model.safetensors"
# The Hub's own names. By `config.json` it counts downloads.
HUB_CONFIG_FILE = "config.json"
CARD_FILE = "README.md"

_NEEDED = (CONFIG_FILE, MODEL_FILE)


def find_folder(name: Path | str, **download: Any) -> Path:
    """The folder of a saved model.

    Args:
        name: a folder, or the id of a repository on the Hub (`somebody/my_model`), of which no other file than those
            of a saved model is fetched.
        download: as `huggingface_hub.snapshot_download` takes it: `revision`, `token`, `cache_dir`, `force_download`,
            `local_files_only`.

    Raises:
        UnavailableError: neither a folder nor to be had from the Hub.
        FileError: a file of it is missing.
    """
    folder = Path(name)
    if not folder.is_dir():
        if folder.exists():
            raise FileError(
                folder,
                f"a folder with {' and '.join(_NEEDED)} is expected, found a file",
                remedy="name the folder that holds it",
            )
        folder = _fetched(str(name), download)
    for file in _NEEDED:
        if not (folder / file).is_file():
            raise FileError(
                folder / file,
                f"no such file; a saved model is a folder with {' and '.join(_NEEDED)}, as save_pretrained and "
                "exitsearch train write it",
            )
    return folder


def _fetched(repository: str, download: dict[str, Any]) -> Path:
    try:
        return Path(snapshot_download(repository, allow_patterns=[*_NEEDED, HUB_CONFIG_FILE, CARD_FILE], **download))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnavailableError(
            f"{repository} is not a folder here, nor can a repository of this name be had from the Hub: {reason}; "
            "name a folder, or a repository that can be reached from here"
        ) from None
