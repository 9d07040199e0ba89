"""The Hub's conventions: `save_pretrained`, `from_pretrained` and `push_to_hub` of a multi-exit model.

    model.save_pretrained("my_model")                   # a folder, ready for the Hub
    MultiExitModel.from_pretrained("my_model")          # the folder, or somebody's repository on the Hub
    model.push_to_hub("somebody/my_model")

The folder holds what `load_model` reads, and two files that the Hub reads:

    model.safetensors    every weight and buffer
    chosen.json          the configuration
    config.json          by which the Hub counts downloads; backbone, exits and how inputs are prepared
    README.md            the model card
"""

from exitsearch.models.hub.card import model_card as model_card
from exitsearch.models.hub.folder import CONFIG_FILE as CONFIG_FILE
from exitsearch.models.hub.folder import MODEL_FILE as MODEL_FILE
from exitsearch.models.hub.model import HubModel as HubModel
