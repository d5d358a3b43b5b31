"""Measures and statistics: outcomes of evaluations, metrics, intervals, diagnostics."""
