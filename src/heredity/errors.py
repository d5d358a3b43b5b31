"""Every error and warning that Heredity raises on purpose.

A message says what was wrong, where, and what would be right. All errors derive from `HeredityError`;
those about a bad value are also `ValueError`, so that ordinary handlers catch them.
"""

from __future__ import annotations


class HeredityError(Exception):
    """Base of all errors raised by Heredity."""


class HeredityWarning(UserWarning):
    """Base of all warnings issued by Heredity."""


# --- the record -------------------------------------------------------------------------------------------


class LabError(HeredityError):
    """The lab's folder cannot be read or written as asked."""


class ReadOnlyLab(LabError):
    """A birth or measurement was asked of a lab that cannot be written."""


class NewerFormat(LabError):
    """The lab was written by a newer version of Heredity."""


class UnknownModel(LabError, LookupError):
    """No birth, name or revision matches what was asked."""


class AmbiguousModel(LabError, LookupError):
    """An id prefix matches several births."""


class DamagedRecord(LabError):
    """A journal line or a blob does not hold what it should."""


class WeightsMissing(LabError):
    """A birth's weights are not stored and cannot be rebuilt."""


class RebuildMismatch(LabError):
    """Rebuilt weights differ from the recorded hash; the message says what else differs."""


class BirthFailed(HeredityError):
    """An operator did not produce a usable child."""


class NotCanonical(HeredityError, TypeError):
    """An operator's field cannot be written down exactly, so the birth could not be recalled."""


class NotAllowed(HeredityError):
    """A record names code outside the allow-list."""


class WorkerLost(HeredityError):
    """A worker process or node died more often than a task is retried."""


class OperatorChanged(HeredityWarning):
    """A recalled birth was made by other source code of the same operator."""


# --- values -----------------------------------------------------------------------------------------------


class EvaluationFailed(HeredityError):
    """An evaluation has no usable value; the reason becomes a recorded failure."""


class NonFinite(HeredityError, ValueError):
    """Weights, losses or fitness hold NaN or infinity."""


class MergeError(HeredityError, ValueError):
    """Models cannot be merged as asked."""


class RecipeError(HeredityError, ValueError):
    """A recipe or configuration file holds an unknown key, a wrong value or a missing file."""


class MissingExtra(HeredityError, ImportError):
    """An optional dependency is needed; the message names the extra that installs it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency: pip install 'heredity[{extra}]'")
        self.feature, self.extra = feature, extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return (type(self), (self.feature, self.extra))
