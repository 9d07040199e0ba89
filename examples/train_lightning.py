"""A chosen model trained by a recipe of the papers with Lightning.

python examples/train_lightning.py exitsearch-out/chosen.json --recipe lgvit
"""

import argparse

import lightning
import torch
from torch.utils.data import DataLoader

import exitsearch
from exitsearch.learn.data import load_data
from exitsearch.learn.engine.stage_module import stage_modules
from exitsearch.pipeline.trained.judge import chances_of


class MultiExit(lightning.LightningModule):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def training_step(self, batch, number):
        found = self.module(*batch)  # the terms of every exit by name, and their sum as `loss`
        self.log_dict({f"train/{name}": term.detach() for name, term in found.items()}, on_step=False, on_epoch=True)
        return found["loss"]

    def on_train_epoch_end(self):
        loss = self.trainer.callback_metrics["train/loss"]
        print(f"{self.module.leg.name}, epoch {self.current_epoch + 1}: loss {loss:.4f}")

    def configure_optimizers(self):
        stage = self.module.leg.stage
        rates = {"lr": stage.learning_rate, "weight_decay": stage.weight_decay}
        return torch.optim.AdamW(self.module.trained_parameters(), **rates)


parser = argparse.ArgumentParser()
parser.add_argument("config", help="chosen.json")
parser.add_argument("--recipe", default="joint", help="see exitsearch list recipes")
parser.add_argument("--data", default="digits", help="digits, or a folder of your own images")
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--out", default="trained")
options = parser.parse_args()
config = exitsearch.load_config(options.config)
model = exitsearch.build_model(config)
data = load_data(options.data, backbone=model.backbone)
lightning.seed_everything(0)
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
for module in stage_modules(model, recipe=options.recipe, chances=chances_of(config)):
    trainer = lightning.Trainer(max_epochs=options.epochs, accelerator="auto", devices=1, **quiet)
    trainer.fit(MultiExit(module), DataLoader(data.heads, batch_size=module.leg.stage.batch_size, shuffle=True))

with torch.inference_mode():
    images, labels = data.report.batch(list(range(len(data.report))))
    for number, outputs in enumerate(model.cpu().iter_exits(images)):
        print(f"exit {number}: accuracy {(outputs.argmax(-1) == labels).float().mean():.4f}")
model.save_pretrained(options.out)  # exitsearch.load_model reads it
