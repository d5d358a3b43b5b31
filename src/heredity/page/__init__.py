"""The lineage page: one self-contained file, or the same page live on loopback."""
