"""Contract suites, importable by third parties: each member of a family is found, not listed."""
