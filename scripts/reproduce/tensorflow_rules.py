"""What TensorFlow's profiler counts in the seven heads of Multi-Exit Vision Transformer, operator by operator.

The published totals are TensorFlow's "float operations", halved. Its profiler has a rule for each operator
(`tensorflow/python/profiler/internal/flops_registry.py`): two operations a multiply-accumulate, and beside them some
for elementwise work, which is no multiply-accumulate. Counted here from the layers of the authors' notebook:

    bias, subtraction, product, division   1 an element       mean over an axis    1 an input element
    squared difference                     2 an element       softmax              5 an element
    reciprocal square root                 2 an element       maximum pooling      1 an element of each window
    depthwise convolution                  2 an element and weight of its window
    additions, erf, exponentials, ELU      nothing (additions had no rule in the version that the totals tell of)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Ops = dict[str, int]


@dataclass(frozen=True)
class Shape:
    """ViT-B/16 at 384 x 384 as the authors ran it.

    Attributes:
        channels: of a token.
        grid: patches along a side; the class token comes beside them.
        patch: pixels along a side of a patch, of three colours.
        attention_heads: of a block.
        hidden: width of the MLP over channels.
        token_hidden: width of the Mixer's MLP over tokens.
        tail: width of the two hidden layers of every head's tail.
        outputs: classes.
    """

    channels: int = 768
    grid: int = 24
    patch: int = 16
    attention_heads: int = 12
    hidden: int = 3072
    token_hidden: int = 384
    tail: int = 256
    outputs: int = 10

    @property
    def patches(self) -> int:
        return self.grid**2

    @property
    def tokens(self) -> int:
        return self.patches + 1

    @property
    def elements(self) -> int:
        """Numbers in a block's output."""
        return self.tokens * self.channels


@dataclass
class Count:
    """Operations of a unit.

    Attributes:
        macs: multiply-accumulates of matrix products and convolutions.
        elementwise: other operations by what they are for.
    """

    macs: int = 0
    elementwise: Ops = field(default_factory=dict)

    def add(self, purpose: str, operations: int) -> None:
        self.elementwise[purpose] = self.elementwise.get(purpose, 0) + operations

    def dense(self, rows: int, inputs: int, outputs: int) -> None:
        """A linear layer with bias."""
        self.macs += rows * inputs * outputs
        self.add("biases", rows * outputs)

    def norm(self, elements: int, vectors: int) -> None:
        """A LayerNorm written out: mean, squared difference (2), mean, scale, product, mean's product, subtraction."""
        self.add("norms", 8 * elements + 2 * vectors)

    def gelu(self, elements: int) -> None:
        """`0.5 * x * (1 + erf(x / sqrt(2)))`: two products and a division; the addition and erf have no rule."""
        self.add("activations", 3 * elements)

    def plus(self, other: Count, times: int = 1) -> Count:
        """Both together."""
        found = Count(self.macs + times * other.macs, dict(self.elementwise))
        for purpose, operations in other.elementwise.items():
            found.add(purpose, times * operations)
        return found

    @property
    def flops(self) -> int:
        """TensorFlow's float operations."""
        return 2 * self.macs + sum(self.elementwise.values())


def stem(shape: Shape) -> Count:
    """Patches embedded by a convolution with bias; the class token and positions have no rule."""
    count = Count()
    count.dense(shape.patches, 3 * shape.patch**2, shape.channels)
    return count


def block(shape: Shape) -> Count:
    """A transformer block: queries, keys, values and output with bias; scores divided; GELU."""
    count, n, c = Count(), shape.tokens, shape.channels
    for _ in range(2):
        count.norm(shape.elements, n)
    for _ in range(4):
        count.dense(n, c, c)
    count.macs += 2 * n * n * c
    scores = shape.attention_heads * n * n
    count.add("attention scores", scores + 5 * scores)  # division by the root of the width, and softmax
    count.dense(n, c, shape.hidden)
    count.gelu(n * shape.hidden)
    count.dense(n, shape.hidden, c)
    # `sqrt(width)` is computed in the graph but has no rule.
    return count


def final(shape: Shape) -> Count:
    """The backbone's own end: norm of all tokens, and a linear layer on the class token."""
    count = Count()
    count.norm(shape.elements, shape.tokens)
    count.dense(1, shape.channels, shape.outputs)
    return count


def tail(shape: Shape, inputs: int) -> Count:
    """Three linear layers; ELU has no rule, the last one's softmax has."""
    count = Count()
    count.dense(1, inputs, shape.tail)
    count.dense(1, shape.tail, shape.tail)
    count.dense(1, shape.tail, shape.outputs)
    count.add("activations", 5 * shape.outputs)
    return count


def mlp_ee(shape: Shape) -> Count:
    """The norm acts on all tokens, of which one is used."""
    count = Count()
    count.norm(shape.elements, shape.tokens)
    return count.plus(tail(shape, shape.channels))


def vit_ee(shape: Shape) -> Count:
    return block(shape).plus(mlp_ee(shape))


def convolution(shape: Shape, channels: int) -> Count:
    """3 x 3 to 16 maps, pooled by windows of 2 x 2."""
    count, filters = Count(), 16
    count.dense(shape.patches, 9 * channels, filters)
    pooled = (shape.grid // 2) ** 2 * filters
    count.add("pooling", 4 * pooled)
    return count.plus(tail(shape, pooled))


def mlp_mixer_ee(shape: Shape) -> Count:
    """Both norms act over the tokens, so there is one vector a channel."""
    count, n, c = Count(), shape.tokens, shape.channels
    for _ in range(2):
        count.norm(shape.elements, c)
    count.dense(c, n, shape.token_hidden)
    count.gelu(c * shape.token_hidden)
    count.dense(c, shape.token_hidden, n)
    count.dense(n, c, shape.hidden)
    count.gelu(n * shape.hidden)
    count.dense(n, shape.hidden, c)
    count.add("pooling", shape.elements)
    return count.plus(tail(shape, c))


def resmlp_ee(shape: Shape) -> Count:
    """Affine layers are depthwise convolutions of one cell: two operations an element, two of the four with bias."""
    count, n, c = Count(), shape.tokens, shape.channels
    count.add("affine layers", 4 * 2 * shape.elements)
    count.add("biases", 2 * shape.elements)
    count.dense(c, n, n)
    count.dense(n, c, shape.hidden)
    count.gelu(n * shape.hidden)
    count.dense(n, shape.hidden, c)
    count.add("pooling", shape.elements)
    return count.plus(tail(shape, c))


HEADS: dict[str, Callable[[Shape], Count]] = {
    "mlp_ee": mlp_ee,
    "cnn_ignore_ee": lambda shape: convolution(shape, shape.channels),
    "cnn_add_ee": lambda shape: convolution(shape, shape.channels),  # the class token is added: no rule
    "cnn_project_ee": lambda shape: convolution(shape, 2 * shape.channels),
    "vit_ee": vit_ee,
    "mlp_mixer_ee": mlp_mixer_ee,
    "resmlp_ee": resmlp_ee,
}


def to_exit(shape: Shape, head: str, placement: int) -> Count:
    """From the input up to and including an exit: the stem, placement + 1 blocks, the head."""
    return stem(shape).plus(block(shape), placement + 1).plus(HEADS[head](shape))


def whole(shape: Shape, blocks: int = 12) -> Count:
    """The backbone without exits."""
    return stem(shape).plus(block(shape), blocks).plus(final(shape))
