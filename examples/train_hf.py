"""A chosen model trained by a recipe of the papers with the Trainer of Hugging Face, unchanged.

The Trainer takes any module whose `forward` returns a dictionary with `loss`; it hands over what the collator gives.

python examples/train_hf.py exitsearch-out/chosen.json --recipe distill
"""

import argparse

import torch
from transformers import Trainer, TrainingArguments

import exitsearch
from exitsearch.learn.data import load_data
from exitsearch.learn.engine.stage_module import stage_modules
from exitsearch.pipeline.trained.judge import chances_of

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


def collate(samples):
    images, labels = zip(*samples, strict=True)
    return {"inputs": torch.stack(images), "targets": torch.stack(labels)}  # the arguments of StageModule.forward


for module in stage_modules(model, recipe=options.recipe, chances=chances_of(config)):
    stage = module.leg.stage
    arguments = TrainingArguments(
        output_dir=options.out,
        per_device_train_batch_size=stage.batch_size,
        num_train_epochs=options.epochs,
        learning_rate=stage.learning_rate,
        weight_decay=stage.weight_decay,
        logging_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    trainer = Trainer(model=module, args=arguments, train_dataset=data.heads, data_collator=collate)
    trainer.train()
    for row in [row for row in trainer.state.log_history if "loss" in row]:
        print(f"{module.leg.name}, epoch {row['epoch']:.0f}: loss {float(row['loss']):.4f}")

with torch.inference_mode():
    images, labels = data.report.batch(list(range(len(data.report))))
    for number, outputs in enumerate(model.cpu().iter_exits(images)):
        print(f"exit {number}: accuracy {(outputs.argmax(-1) == labels).float().mean():.4f}")
model.save_pretrained(options.out)  # exitsearch.load_model reads it
