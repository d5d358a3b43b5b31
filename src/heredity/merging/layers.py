"""Where a tensor sits in a network, read from its name: its layer, and groups of names as regular expressions.

Groups are plain patterns, tried in order, so that a recipe can be written down, read and edited by hand.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

from heredity.errors import MergeError

LAYER_PATTERN = r"(?:^|\.)(\d+)(?:\.|$)"  # the first whole number between dots
EMBEDDING_PATTERN = r"(?:^|[._])(?:tok_|word_|pos_|patch_|position_)?(?:embed\w*|wte|wpe)(?:\.|$)"
ATTENTION, FEED_FORWARD, REST = r"att(?:n|ention)", r"mlp|ffn|feed_forward|\bfc\d?\b", ""
FILTERS = (ATTENTION, FEED_FORWARD, REST)


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise MergeError(f"{pattern!r} is no regular expression: {error}") from error


def layer_of(name: str, pattern: str = LAYER_PATTERN) -> tuple[str, int, str] | None:
    """Split a tensor name around its layer index: the stack's prefix, the index, the rest; None outside any stack.

    Args:
        name: tensor name.
        pattern: regular expression whose first group is the index; the first match counts.

    Example:
        >>> layer_of("model.layers.12.mlp.up.weight")
        ('model.layers.', 12, '.mlp.up.weight')
    """
    compiled = _compiled(pattern)
    if compiled.groups < 1:
        raise MergeError(f"the layer pattern {pattern!r} needs a group around the index, as in {LAYER_PATTERN!r}")
    match = compiled.search(name)
    return None if match is None else (name[: match.start(1)], int(match.group(1)), name[match.end(1) :])


def layer_groups(names: Iterable[str], granularity: int = 1, pattern: str = LAYER_PATTERN) -> tuple[str, ...]:
    """Patterns that divide tensor names into groups of successive layers, embeddings, and the rest.

    Args:
        names: tensor names of one model, in any order.
        granularity: present layers of a stack per group, at least 1; the last group may be smaller.
        pattern: how to find the layer index.

    Returns:
        Patterns for `group_index`: layers by stack and index, then embeddings and everything else, where there are any.
    """
    if granularity < 1:
        raise MergeError(f"granularity must be 1 or more layers per group, got {granularity}")
    stacks: dict[str, set[int]] = {}
    outside = []
    for name in names:
        place = layer_of(name, pattern)
        if place is None:
            outside.append(name)
        else:
            stacks.setdefault(place[0], set()).add(place[1])
    groups = []
    for prefix in sorted(stacks):
        indices = sorted(stacks[prefix])
        for first in range(0, len(indices), granularity):
            members = "|".join(map(str, indices[first : first + granularity]))
            groups.append(f"^{re.escape(prefix)}(?:{members})(?!\\d)")
    embeddings = [name for name in outside if _compiled(EMBEDDING_PATTERN).search(name)]
    if embeddings:
        groups.append(EMBEDDING_PATTERN)
    if len(embeddings) < len(outside):
        groups.append(REST)
    return tuple(groups)


def group_index(name: str, patterns: Sequence[str]) -> int:
    """The first pattern that is found in the name.

    Raises:
        MergeError: none is; an empty last pattern takes everything.
    """
    for index, pattern in enumerate(patterns):
        if _compiled(pattern).search(name):
            return index
    raise MergeError(f"{name!r} belongs to none of the groups {', '.join(map(repr, patterns))}; end them with ''")
