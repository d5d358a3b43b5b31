"""Errors of the catalogue and of claims."""

from __future__ import annotations

from heredity.errors import HeredityError


class UnknownPaper(HeredityError, LookupError):
    """No card has this slug, number or family."""


class ClaimError(HeredityError, ValueError):
    """A claim cannot be run as asked, or a result cannot be read."""
