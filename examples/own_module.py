"""A backbone of one's own: any nn.Module, registered with timm under a name so that every command takes it.

    exitsearch profile --plugin examples/own_module.py --model my_net --threads 1
    exitsearch train-heads --plugin examples/own_module.py --model my_net --data digits --heads linear,conv
    exitsearch search --plugin examples/own_module.py --model my_net --budget-dist uniform:10%,100%

    python examples/own_module.py      # the same module without a name, in Python

Nothing in the module speaks of exits. Its blocks are found by its structure; only the forward around them is traced, so
what decides by the values of a tensor belongs into a module of its own.
"""

import torch
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions with a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input [batch, channels, height, width]."""
        return torch.relu(x + self.body(x))


class MyNet(nn.Module):
    """Two stages of three blocks each, over images of 8 x 8 pixels."""

    def __init__(self, num_classes: int = 10, in_chans: int = 1) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Conv2d(in_chans, 16, 3, padding=1)
        self.stage1 = nn.Sequential(*(Block(16) for _ in range(3)))
        self.down = nn.Conv2d(16, 32, 2, stride=2)
        self.stage2 = nn.Sequential(*(Block(32) for _ in range(3)))
        self.classifier = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, classes] of images [batch, channels, 8, 8]."""
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        return self.classifier(x.mean((2, 3)))


default_cfgs = generate_default_cfgs(
    {
        "my_net.untrained": {
            "num_classes": 10,
            "input_size": (1, 8, 8),
            "mean": (0.305,),
            "std": (0.376,),
            "crop_pct": 1.0,
            "interpolation": "bilinear",
        }
    }
)


@register_model
def my_net(pretrained: bool = False, num_classes: int = 10, in_chans: int = 1, **kwargs: object) -> MyNet:
    """The entry that `--model my_net` finds."""
    if pretrained:
        raise RuntimeError("my_net has no pretrained weights; give a file with --checkpoint")
    return MyNet(num_classes=num_classes, in_chans=in_chans)


if __name__ == "__main__":
    import exitsearch

    backbone = exitsearch.create_backbone(MyNet(), example_input=torch.zeros(1, 1, 8, 8))
    for placement in backbone.placements:
        print(
            placement.index, placement.module, f"{placement.channels} channels, {placement.macs_share:.0%} of the MACs"
        )
