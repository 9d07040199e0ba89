"""Somebody's own training loop with a chosen multi-exit model: it is an ordinary nn.Module.

exitsearch search --budget-dist uniform:10%,100%
python examples/own_training_loop.py exitsearch-out/chosen.json
"""

import sys

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import exitsearch
from exitsearch.learn.data import load_data

model = exitsearch.build_model(exitsearch.load_config(sys.argv[1]))
data = load_data("digits", backbone=model.backbone, task="classification")
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

for images, labels in DataLoader(data.heads, batch_size=64, shuffle=True):
    *early, final = model.train()(images)  # outputs of every exit in order, the final one last
    loss = sum(cross_entropy(outputs, labels) for outputs in early) + 2 * cross_entropy(final, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

with torch.inference_mode():
    images, labels = data.report.batch(list(range(len(data.report))))
    for number, outputs in enumerate(model.eval().iter_exits(images)):  # stop asking, and no later part is computed
        print(f"exit {number}: accuracy {(outputs.argmax(-1) == labels).float().mean():.4f}")
