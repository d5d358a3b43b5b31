"""Worlds that policies act in, and the batched evaluation of whole populations in them."""
