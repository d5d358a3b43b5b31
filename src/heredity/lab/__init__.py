"""The record: births, weights, executors, resume and rebuild. Importing it does not import torch."""

from __future__ import annotations

from heredity.lab.architecture import Architecture as Architecture
from heredity.lab.architecture import architecture as architecture
from heredity.lab.canonical import allow as allow
from heredity.lab.lab import Lab as Lab
from heredity.lab.model import Model as Model
from heredity.lab.operator import Child as Child
from heredity.lab.operator import Context as Context
from heredity.lab.operator import Operator as Operator
from heredity.lab.operator import Parents as Parents
from heredity.lab.operator import Probe as Probe
from heredity.lab.operator import Request as Request
