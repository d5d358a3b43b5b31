"""The contract of every merger, as checks that anyone can run on their own.

A merger of another package is checked with two lines:

    >>> from heredity.merging.mergers import merger_for
    >>> for name, check in merger_checks(merger_for("ties", density=0.5)):
    ...     check()

A law that a merger does not keep is declared by its `exceptions()`; its check then demands that it is indeed broken.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from heredity.errors import HeredityError, MergeError, NonFinite
from heredity.merging.base import Merger, StateDict

Check = Callable[[], None]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ABOVE = ("operators", "probes")  # these modules wrap parts for the lab and hold no mergers
# a single parent comes back through base + (parent − base): one rounding of each step, relative to values below 2
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def merger_checks(merger: Merger) -> Iterator[tuple[str, Check]]:
    """The checks of one merger: (name, callable that raises AssertionError when the law is broken).

    Args:
        merger: any merger; it is given tiny state dicts with matrices, vectors, a low-rank pair and an integer counter.
    """
    laws: dict[str, Callable[[Merger], None]] = {
        "one parent": _one_parent,
        "parents unmodified": _parents_unmodified,
        "same seed, same result": _deterministic,
        "global generator untouched": _global_generator,
        "order of keys": _order_of_keys,
        "NaN named": _nan_named,
        "infinity named": _infinity_named,
        "missing key named": _missing_key,
        "shape named": _shape_named,
        "dtype named": _dtype_named,
        "nothing to merge": _nothing,
        "counters kept": _counters,
        "arithmetic is finite": _finite,
    }
    checks: dict[str, Check] = {name: partial(law, merger) for name, law in laws.items()}
    for dtype in DTYPES:
        short = str(dtype).removeprefix("torch.")
        checks[f"equal parents, {short}"] = partial(_equal_parents, merger, dtype)
        checks[f"keys, shapes and dtype, {short}"] = partial(_form_kept, merger, dtype)
    excused = merger.exceptions()
    if unknown := sorted(set(excused) - set(checks)):
        raise ValueError(f"exceptions() of {merger!r} names no check: {unknown[0]!r}; known: {', '.join(checks)}")
    for name, check in checks.items():
        yield name, (partial(_must_fail, name, check, excused[name]) if name in excused else check)


def all_mergers() -> Iterator[tuple[str, Merger]]:
    """Every merger of `heredity.merging` with its examples, found by walking the package."""
    import heredity.merging as package

    found: set[type[Merger]] = set()
    for info in pkgutil.iter_modules(package.__path__):
        if info.name not in ABOVE:
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            for _, value in inspect.getmembers(module, inspect.isclass):
                if issubclass(value, Merger) and not inspect.isabstract(value):
                    found.add(value)
    for kind in sorted(found, key=lambda kind: (kind.__module__, kind.__name__)):
        yield from kind.examples()


def tiny_parents(count: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[list[StateDict], StateDict]:
    """Parents that differ a little from a base, and the base."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "embed.weight": (7, 4),
        "layers.0.attn.weight": (6, 4),
        "layers.0.attn.lora_A.weight": (2, 4),
        "layers.0.attn.lora_B.weight": (6, 2),
        "layers.0.bias": (6,),
        "layers.1.mlp.weight": (4, 6),
        "layers.1.conv.weight": (3, 2, 2, 2),
        "scale": (),
        "nothing": (0, 3),
    }
    base = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    parents = []
    for index in range(count):
        parent = {
            name: (tensor.float() + 0.3 * torch.randn(tensor.shape, generator=generator)).to(dtype)
            for name, tensor in base.items()
        }
        parent["batches"] = torch.tensor(10 + index)
        parents.append(parent)
    base["batches"] = torch.tensor(3)
    return parents, base


def _count(merger: Merger, wanted: int = 2) -> int:
    least, most = merger.model_counts()
    return max(least, wanted if most is None else min(wanted, most))


def _same(a: StateDict, b: StateDict) -> bool:
    return list(a) == list(b) and all(_bits_equal(a[name], b[name]) for name in a)


def _bits_equal(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    words = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return torch.equal(a.contiguous().view(words), b.contiguous().view(words))


def _equal_parents(merger: Merger, dtype: torch.dtype) -> None:
    parent = tiny_parents(1, dtype)[0][0]
    parent["layers.0.bias"][:2] = torch.tensor([-0.0, 0.0])  # signed zeros are bits, too
    for count in sorted({_count(merger, 2), _count(merger, 3)}):
        copies = [{name: tensor.clone() for name, tensor in parent.items()} for _ in range(count + 1)]
        merged = merger.merge(copies[:count], base=copies[count])
        assert _same(merged, parent), f"{count} equal parents were not returned bit for bit"


def _form_kept(merger: Merger, dtype: torch.dtype) -> None:
    parents, base = tiny_parents(_count(merger), dtype)
    merged = merger.merge(parents, base=base)
    assert list(merged) == list(parents[0]), "the keys, or their order, changed"
    for name, tensor in parents[0].items():
        assert merged[name].shape == tensor.shape, f"the shape of {name!r} changed"
        assert merged[name].dtype == tensor.dtype, f"the dtype of {name!r} changed"
        assert merged[name].device == tensor.device, f"the device of {name!r} changed"


def _one_parent(merger: Merger) -> None:
    if merger.model_counts()[0] > 1:
        return
    for dtype in DTYPES:
        (parent,), base = tiny_parents(1, dtype)
        merged = merger.merge([parent], base=base)
        for name in parent:
            gap = (merged[name].double() - parent[name].double()).abs()
            allowed = 4 * ROUNDING[dtype] if "lora_" in name else ROUNDING[dtype] * 2
            assert not gap.numel() or gap.max() <= allowed, f"one parent of weight 1 changed at {name!r}"


def _parents_unmodified(merger: Merger) -> None:
    parents, base = tiny_parents(_count(merger))
    before = [{name: tensor.clone() for name, tensor in model.items()} for model in (*parents, base)]
    merged = merger.merge(parents, base=base)
    for tensor in merged.values():
        if tensor.is_floating_point():
            tensor.add_(1.0)  # writing into the child must not reach a parent, either
    for model, copy in zip((*parents, base), before, strict=True):
        assert _same(model, copy), "a parent or the base was modified"


def _deterministic(merger: Merger) -> None:
    parents, base = tiny_parents(_count(merger))
    first = merger.merge(parents, base=base)
    torch.rand(3, generator=torch.Generator().manual_seed(1))
    assert _same(first, merger.merge(parents, base=base)), "the same merge gave two results"


def _global_generator(merger: Merger) -> None:
    parents, base = tiny_parents(_count(merger))
    state = torch.get_rng_state()
    first = merger.merge(parents, base=base)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        assert _same(first, merger.merge(parents, base=base)), "the global generator was consulted"


def _order_of_keys(merger: Merger) -> None:
    parents, base = tiny_parents(_count(merger))
    merged = merger.merge(parents, base=base)
    turned = merger.merge([dict(reversed(parent.items())) for parent in parents], base=dict(reversed(base.items())))
    assert _same(merged, {name: turned[name] for name in merged}), "the order of keys changed the result"


def _nan_named(merger: Merger) -> None:
    _non_finite(merger, float("nan"))


def _infinity_named(merger: Merger) -> None:
    _non_finite(merger, float("inf"))
    _non_finite(merger, float("-inf"))


def _non_finite(merger: Merger, value: float) -> None:
    count = _count(merger)
    for broken in range(count):
        parents, base = tiny_parents(count)
        parents[broken]["layers.1.mlp.weight"][1, 2] = value
        _must_raise(NonFinite, merger, parents, base, "layers.1.mlp.weight", f"model {broken}")


def _missing_key(merger: Merger) -> None:
    if (count := _count(merger)) < 2:
        return
    parents, base = tiny_parents(count)
    del parents[-1]["layers.0.bias"]
    _must_raise(MergeError, merger, parents, base, "layers.0.bias")


def _shape_named(merger: Merger) -> None:
    if (count := _count(merger)) < 2:
        return
    parents, base = tiny_parents(count)
    parents[-1]["embed.weight"] = torch.zeros(8, 4)
    _must_raise(MergeError, merger, parents, base, "embed.weight", "(7, 4)", "(8, 4)")


def _dtype_named(merger: Merger) -> None:
    if (count := _count(merger)) < 2:
        return
    parents, base = tiny_parents(count)
    parents[-1]["embed.weight"] = parents[-1]["embed.weight"].bfloat16()
    _must_raise(MergeError, merger, parents, base, "embed.weight", "float32", "bfloat16")


def _nothing(merger: Merger) -> None:
    _must_raise(MergeError, merger, [], tiny_parents(1)[1])


def _counters(merger: Merger) -> None:
    parents, base = tiny_parents(_count(merger))
    merged = merger.merge(parents, base=base)
    assert merged["batches"].dtype == torch.int64, "an integer counter changed its dtype"
    assert int(merged["batches"]) == 10, "an integer counter is not the first parent's"


def _finite(merger: Merger) -> None:
    parents, base = tiny_parents(_count(merger))
    for parent in parents:
        parent["layers.1.mlp.weight"] = base["layers.1.mlp.weight"].clone()  # no difference: no direction, no norm
        parent["layers.0.bias"] = torch.zeros(6)
    base["layers.0.bias"] = torch.zeros(6)
    for name, tensor in merger.merge(parents, base=base).items():
        assert torch.isfinite(tensor).all(), f"{name!r} is not finite"


def _must_raise(
    kind: type[HeredityError], merger: Merger, parents: list[StateDict], base: StateDict, *words: str
) -> None:
    try:
        merger.merge(parents, base=base)
    except kind as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, f"the message does not name {missing[0]!r}: {error}"
        return
    raise AssertionError(f"no {kind.__name__} was raised" + (f" for {words[0]!r}" if words else ""))


def _must_fail(name: str, check: Check, reason: str) -> None:
    try:
        check()
    except AssertionError:
        return
    raise AssertionError(f"{name!r} is declared broken ({reason}), but the law holds")
