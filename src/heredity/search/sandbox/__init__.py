"""Running code that nobody trusts: written by a language model, by a search, or by a stranger."""

from __future__ import annotations

from heredity.search.sandbox.caller import Call as Call
from heredity.search.sandbox.caller import run_python as run_python
from heredity.search.sandbox.exchange import SandboxResult as SandboxResult
from heredity.search.sandbox.exchange import SandboxUnavailable as SandboxUnavailable
from heredity.search.sandbox.worker import Worker as Worker
