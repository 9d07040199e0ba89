"""HubModel: `huggingface_hub`'s mixin over this package's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import ModelCard, ModelHubMixin
from torch import nn

from exitsearch.models.backbone import Backbone
from exitsearch.models.hub.card import LIBRARY, TAGS, hub_config, model_card, preparation
from exitsearch.models.hub.folder import CARD_FILE, CONFIG_FILE, HUB_CONFIG_FILE, MODEL_FILE, find_folder
from exitsearch.models.tensors import save_tensors
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.document import write_json, write_text


class HubModel(nn.Module, ModelHubMixin, library_name=LIBRARY, tags=[*TAGS]):
    """A multi-exit model that can be saved and fetched as the Hub's users expect.

    `push_to_hub` is the mixin's own: it saves into a temporary folder and uploads that in one commit.
    """

    backbone: Backbone
    config: MultiExitConfig

    def save_pretrained(
        self, save_directory: Path | str, *, model_card_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> str | None:
        """Save weights, configuration and model card in a folder.

        Args:
            save_directory: is made where there is none. A README.md that stands there is kept: people write into it.
            model_card_kwargs: keywords of `model_card`: `scores`, `datasets`, `license` and so on.
            kwargs: as in `ModelHubMixin.save_pretrained`; `push_to_hub=True, repo_id="user/name"` uploads it too.

        Returns:
            The address of the commit, where it was uploaded.

        Raises:
            InputError: scores that do not fit the exits.
            FileError: a file cannot be written.
            ExitSearchError: the disk is full.
        """
        folder = Path(save_directory)
        if not (folder / CARD_FILE).exists():
            # Whole or not at all, which the mixin's own writing is not; what it finds there it leaves.
            write_text(folder / CARD_FILE, str(self.generate_model_card(**(model_card_kwargs or {}))))
        return super().save_pretrained(folder, model_card_kwargs=model_card_kwargs, **kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        save_tensors(save_directory / MODEL_FILE, self.state_dict())
        self.config.write(save_directory / CONFIG_FILE)
        write_json(save_directory / HUB_CONFIG_FILE, hub_config(self.backbone.module, config=self.config))

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Path | str, *, device: torch.device | str = "cpu", **download: Any
    ) -> Self:
        """Load a model that was saved, in eval mode; nothing that its files say is run.

        The mixin's own way is not taken: it would hand whatever stands in `config.json` to the constructor.

        Args:
            pretrained_model_name_or_path: the folder of `save_pretrained` or `exitsearch train`, or the id of a
                repository on the Hub.
            device: where to put it.
            download: of a repository: `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`.

        Raises:
            UnavailableError: neither a folder nor to be had from the Hub.
            FileError: a file is missing, broken, too large, or the weights do not fit the configuration.
            InputError: a backbone or head that this machine does not know.
        """
        return cls._load(find_folder(pretrained_model_name_or_path, **download), device=device)

    @classmethod
    def _load(cls, folder: Path, *, device: torch.device | str) -> Self:
        raise NotImplementedError

    def generate_model_card(self, **card: Any) -> ModelCard:
        """The model card, with the keywords of `model_card`."""
        return model_card(self.config, **{"preparation": preparation(self.backbone.module, config=self.config), **card})
