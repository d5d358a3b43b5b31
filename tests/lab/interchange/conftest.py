"""A small pedigree with everything that a format could stumble over."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from species import Average, Judge, Mutate, Norm

import heredity as hd

HOSTILE = "evil \"); 'drop' [x](y)\n<b>&#35;;\u202e %% {end}"


@dataclass
class Pedigree:
    """ancestor → one, two; one + two (base: ancestor) → merged; merged → last (dead, hostile name)."""

    lab: hd.Lab
    ancestor: hd.Model
    one: hd.Model
    two: hd.Model
    merged: hd.Model
    last: hd.Model

    @property
    def all(self) -> list[hd.Model]:
        return [self.ancestor, self.one, self.two, self.merged, self.last]


@pytest.fixture
def pedigree(lab: hd.Lab, tmp_path) -> Pedigree:
    ancestor = lab.add({"w": torch.tensor([3.0, 4.0])}, name="Darwin's ancestor")
    one = lab.derive(Mutate(0.5), ancestor, seed=1)
    two = lab.derive(Mutate(0.25), ancestor, seed=2)
    merged = lab.derive(Average(), one, two, base=ancestor, labels={"generation": 2})
    last = lab.derive(Mutate(), merged, name=HOSTILE)
    lab.measure(Norm(), ancestor)  # 3² + 4² = 25
    lab.measure(Judge("unusable", str(tmp_path / "asked")), one)
    lab.die([last], "too old")
    return Pedigree(lab, ancestor, one, two, merged, last)
