"""Six small networks for digits, of three families, whose layers are rounded to few bits.

Eight layers vary (the linear head keeps 8 bits), batch norms are folded into them, and each layer has one range of
values for all its weights: with a range for each channel, three bits cost nothing on digits.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from heredity.data.digits import Split, load_digits
from heredity.search.layer_stats import INPUTS, LayerStats
from heredity.search.quantbench import QuantBench

Family = Literal["plain", "residual", "depthwise"]
FAMILIES: tuple[Family, ...] = ("plain", "residual", "depthwise")
WIDTHS = (10, 14)
CONFIGS, BITS, HEAD_BITS = 120, (2, 3, 4), 8
EPOCHS, BATCH, RATE = 10, 32, 1e-2
STAT_IMAGES, STAT_ACTIVATIONS, STAT_DRAWS, TEST_IMAGES = 128, 32, 16, 450


class ConvNorm(nn.Module):
    """Convolution and batch norm, which `folded` makes one convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, H, W]."""
        out: Tensor = self.norm(self.conv(x))
        return out


class EightLayers(nn.Module):
    """Eight convolutions, a 2×2 pooling in the middle, global average, linear head.

    Args:
        family: "plain"; "residual": the layers in pairs with a sum around all but the first two and the last two;
            "depthwise": 3×3 by channel and 1×1 in turn after a first 3×3.
        width: channels; the depth-wise family has four times as many, plain and residual 1.5 times as many after the
            pooling.
    """

    def __init__(self, family: Family, width: int) -> None:
        super().__init__()
        self.family = family
        wide = 4 * width if family == "depthwise" else width
        last = wide if family == "depthwise" else width * 3 // 2
        if family == "depthwise":
            shapes = [(1, wide, 3, 1)] + [(wide, wide, 3, wide), (wide, wide, 1, 1)] * 3 + [(wide, wide, 1, 1)]
        else:
            shapes = [(1, wide, 3, 1)] + [(wide, wide, 3, 1)] * 3 + [(wide, last, 3, 1)] + [(last, last, 3, 1)] * 3
        self.layers = nn.ModuleList(ConvNorm(*shape) for shape in shapes)
        self.head = nn.Linear(last, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] → logits [N, 10]."""
        kept = x
        for place, layer in enumerate(self.layers):
            if place == 4:
                x = functional.max_pool2d(x, 2)
            if self.family == "residual" and place in (2, 5):
                kept = x
            x = layer(x)
            if self.family == "residual" and place in (3, 6):
                x = x + kept
            x = torch.relu(x)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


@lru_cache(maxsize=4)
def digits_of(seed: int) -> Split:
    """1,347 training and 450 test images."""
    return load_digits(train=1797 - TEST_IMAGES, seed=seed)


def trained(family: Family, width: int, seed: int, epochs: int = EPOCHS) -> EightLayers:
    """A network trained with AdamW and one cycle of the learning rate; its batch norms folded."""
    split, generator = digits_of(seed), torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(10_007 * seed + 100 * FAMILIES.index(family) + width)
        net = EightLayers(family, width)
    steps = epochs * -(-len(split.train_y) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(epochs):
        for places in torch.split(torch.randperm(len(split.train_y), generator=generator), BATCH):
            loss = functional.cross_entropy(net(split.train_x[places]), split.train_y[places])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return folded(net)


def folded(net: EightLayers) -> EightLayers:
    """A copy in evaluation mode whose convolutions hold their batch norms."""
    net = copy.deepcopy(net).eval()
    for layer in net.layers:
        assert isinstance(layer, ConvNorm) and isinstance(layer.norm, nn.BatchNorm2d)
        layer.conv, layer.norm = fuse_conv_bn_eval(layer.conv, layer.norm), nn.Identity()
    return net


def restored(family: Family, width: int, weights: dict[str, Tensor]) -> EightLayers:
    """The network of folded weights."""
    net = folded(EightLayers(family, width))
    net.load_state_dict(weights)
    return net


@torch.no_grad()
def accuracy(net: nn.Module, seed: int) -> float:
    """On the 450 test images."""
    split = digits_of(seed)
    return float((net(split.test_x).argmax(1) == split.test_y).double().mean())


def benched(net: EightLayers, seed: int, configs: int = CONFIGS) -> tuple[QuantBench, LayerStats]:
    """Accuracies of random mixtures of bits, and the statistics of the layers from 128 training images."""
    split = digits_of(seed)
    bench = QuantBench.build(
        net, (split.test_x, split.test_y), configs, BITS, seed, fixed={"head": HEAD_BITS}, per_channel=False
    )
    batch = (split.train_x[:STAT_IMAGES], split.train_y[:STAT_IMAGES])
    stats = LayerStats.collect(
        net, batch, want=INPUTS, layers=bench.layers, activations=STAT_ACTIVATIONS, draws=STAT_DRAWS, seed=seed
    )
    return bench, stats
