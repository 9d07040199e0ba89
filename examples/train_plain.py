"""A chosen model trained by a recipe of the papers in a plain PyTorch loop.

exitsearch search --budget-dist uniform:10%,100%
python examples/train_plain.py exitsearch-out/chosen.json --recipe budget --heads outcomes/vit_digits_patch1_8__digits
"""

import argparse

import torch
from torch.utils.data import DataLoader

import exitsearch
from exitsearch.learn.data import load_data
from exitsearch.learn.engine.stage_module import stage_modules
from exitsearch.learn.recipes.recipe import get_recipe
from exitsearch.pipeline.trained.judge import chances_of

parser = argparse.ArgumentParser()
parser.add_argument("config", help="chosen.json")
parser.add_argument("--recipe", default="joint", help="see exitsearch list recipes")
parser.add_argument("--data", default="digits", help="digits, or a folder of your own images")
parser.add_argument("--heads", help="outcomes whose trained heads to begin with")
parser.add_argument("--epochs", type=int, help="of every stage, instead of the recipe's")
parser.add_argument("--out", default="trained")
options = parser.parse_args()

config = exitsearch.load_config(options.config)
model = exitsearch.build_model(config, weights=options.heads)
data = load_data(options.data, backbone=model.backbone)
recipe = get_recipe(options.recipe, epochs=options.epochs)

torch.manual_seed(0)
for module in stage_modules(model, recipe=recipe, chances=chances_of(config)):
    stage = module.leg.stage
    optimizer = torch.optim.AdamW(module.trained_parameters(), lr=stage.learning_rate, weight_decay=stage.weight_decay)
    for epoch in range(stage.epochs):
        losses = []
        for inputs, targets in DataLoader(data.heads, batch_size=stage.batch_size, shuffle=True):
            found = module(inputs, targets)  # the terms of every exit by name, and their sum as `loss`
            optimizer.zero_grad()
            found["loss"].backward()
            optimizer.step()
            losses.append(found["loss"].item())
        print(f"{module.leg.name}, epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}")

with torch.inference_mode():
    images, labels = data.report.batch(list(range(len(data.report))))
    for number, outputs in enumerate(model.iter_exits(images)):
        print(f"exit {number}: accuracy {(outputs.argmax(-1) == labels).float().mean():.4f}")
model.save_pretrained(options.out)  # exitsearch.load_model reads it
