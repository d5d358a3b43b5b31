"""The language model that parts of claims ask: the one that `heredity reproduce --lm` or the environment names."""

from __future__ import annotations

import os

from heredity.language.access import EndpointChat, LocalModel
from heredity.papers.errors import ClaimError

LM, LM_KEY = "HEREDITY_LM", "HEREDITY_LM_KEY"


def language_model() -> EndpointChat | LocalModel:
    """The model named.

    Raises:
        ClaimError: none is.
    """
    where = _named()
    if where.startswith(("http://", "https://")):
        url, _, name = where.partition("#")
        return EndpointChat(url, name or "default", api_key_env=LM_KEY if os.environ.get(LM_KEY) else None)
    return LocalModel(where)


def model_name() -> str:
    """What the record calls it.

    Raises:
        ClaimError: none is named.
    """
    where = _named()
    return where.partition("#")[2] or where.rstrip("/").rpartition("/")[2]


def _named() -> str:
    where = os.environ.get(LM, "")
    if not where:
        raise ClaimError(
            "the part of the claim that needs a language model is not checked: pass --lm with the folder or name of a "
            'transformers model, or with an endpoint like "http://localhost:8000/v1#its-name" '
            f"(its key in {LM_KEY}), or set {LM}"
        )
    return where
