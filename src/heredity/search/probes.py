"""What a recorded model computes, as a measurement: models of equal behaviour measure alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from heredity.errors import EvaluationFailed
from heredity.lab import Context, Model, Probe
from heredity.search.functional_hash import mix_floats


@dataclass(frozen=True, eq=False)
class Behaviour(Probe):
    """Hash of a model's outputs on given inputs, `behaviour`: a whole number below 2^53, exact as a float.

    The model runs in float64, in evaluation mode. Equal numbers mean equal behaviour on these inputs, up to the
    mantissa bits, and nothing more: choose inputs that tell apart what your evaluation tells apart.

    Args:
        inputs: [N, …] a batch for the model; stored as evidence.
        mantissa_bits: of every output that count.
    """

    inputs: Tensor
    mantissa_bits: int = 24

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Run and hash.

        Raises:
            EvaluationFailed: an output is not finite, or the model does not answer with tensors.
        """
        outputs = self._outputs(model)
        if not outputs:
            raise EvaluationFailed("the model answers with no tensor on the evidence")
        if not all(map(math.isfinite, outputs)):
            raise EvaluationFailed("the model's outputs on the evidence are not finite")
        return {"behaviour": float(mix_floats(outputs, self.mantissa_bits) >> 10)}

    @torch.no_grad()
    def _outputs(self, model: Model) -> list[float]:
        module = model.load().double().eval()
        inputs = self.inputs.double() if self.inputs.is_floating_point() else self.inputs
        return [value for tensor in _tensors(module(inputs)) for value in tensor.double().flatten().tolist()]


def _tensors(answer: Any) -> Iterator[Tensor]:
    if isinstance(answer, Tensor):
        yield answer
    elif isinstance(answer, Mapping):
        for value in answer.values():
            yield from _tensors(value)
    elif isinstance(answer, (tuple, list)):
        for value in answer:
            yield from _tensors(value)
    elif answer is not None:
        raise EvaluationFailed(f"the model answers with {type(answer).__name__}; behaviour is read off tensors")
