"""The gene that searches over source code begin with: a small network for scikit-learn's digits, and its recipe."""

from __future__ import annotations

SEED_GENE = """import torch
from torch import nn, optim
# --OPTION--
class Stem(nn.Module):
    def __init__(self, width, kernel=3):
        super().__init__()
        self.mix = nn.Conv2d(1, width, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(self.act(self.norm(self.mix(x))))
# --OPTION--
class Unit(nn.Module):
    def __init__(self, width, kernel=3, squeeze=True, reduction=4, residual=True):
        super().__init__()
        self.space = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        self.mix = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU()
        inner = max(1, width // reduction)
        gate = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width), nn.Sigmoid())
        self.gate = gate if squeeze else None
        self.residual = residual

    def forward(self, x):
        y = self.norm(self.mix(self.space(x)))
        if self.gate is not None:
            y = y * self.gate(y.mean((2, 3)))[:, :, None, None]
        return self.act(x + y if self.residual else y)
# --OPTION--
class Network(nn.Module):
    def __init__(self, width=WIDTH, depth=2, hidden_width=WIDTH, dropout=0.0):
        super().__init__()
        self.body = nn.Sequential(Stem(width), *[Unit(width) for _ in range(depth)])
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(4 * width, hidden_width), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(hidden_width, 10)

    def forward(self, x):
        return self.head(self.hidden(self.pool(self.body(x))))
# --OPTION--
class Recipe:
    rate = 0.01
    decay = 0.01
    smoothing = 0.0

    def optimizer(self, parameters):
        return optim.AdamW(parameters, lr=self.rate, weight_decay=self.decay)
"""


def seed_gene(width: int = 24) -> str:
    """The source that searches begin with: a stem, units of depth-wise convolutions with gates, a head, a recipe."""
    return SEED_GENE.replace("WIDTH", str(width))
