"""A chosen model trained as a task of timm's own: python examples/train_timm.py exitsearch-out/chosen.json

timm's stock `ClassificationTask` hands one tensor to its criterion, so its script cannot carry the losses of several
exits unchanged. A task of one's own is the shortest way: what takes a `TrainingTask` takes this one.
"""

import argparse

import torch
from timm.optim import create_optimizer_v2
from timm.task import TrainingTask
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

import exitsearch
from exitsearch.learn.data import load_data
from exitsearch.learn.engine.stage_module import stage_modules
from exitsearch.pipeline.trained.judge import chances_of


class MultiExitTask(TrainingTask):
    def __init__(self, module):
        super().__init__()
        self.trainable_module, self.eval_model = module, module.model  # what is trained; what is judged and saved

    def prepare_distributed(self, device_ids=None, **options):
        self.trainable_module = DistributedDataParallel(self.trainable_module, device_ids=device_ids, **options)
        return self

    def forward(self, input, target):
        return self.trainable_module(input, target)  # with `loss`, as timm's loop expects


parser = argparse.ArgumentParser()
parser.add_argument("config", help="chosen.json")
for name, default in {"--recipe": "joint", "--data": "digits", "--epochs": "2", "--out": "trained"}.items():
    parser.add_argument(name, default=default)
options = parser.parse_args()
config = exitsearch.load_config(options.config)
model = exitsearch.build_model(config)
data = load_data(options.data, backbone=model.backbone)
for module in stage_modules(model, recipe=options.recipe, chances=chances_of(config)):
    task, stage = MultiExitTask(module), module.leg.stage
    optimizer = create_optimizer_v2(task, opt=stage.optimizer, lr=stage.learning_rate, weight_decay=stage.weight_decay)
    for epoch in range(int(options.epochs)):
        losses = []
        for input, target in DataLoader(data.heads, batch_size=stage.batch_size, shuffle=True):
            optimizer.zero_grad()
            result = task(input, target)
            result["loss"].backward()
            optimizer.step()
            losses.append(result["loss"].item())
        print(f"{module.leg.name}, epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}")

with torch.inference_mode():
    images, labels = data.report.batch(list(range(len(data.report))))
    for number, outputs in enumerate(model.iter_exits(images)):
        print(f"exit {number}: accuracy {(outputs.argmax(-1) == labels).float().mean():.4f}")
model.save_pretrained(options.out)  # exitsearch.load_model reads it
