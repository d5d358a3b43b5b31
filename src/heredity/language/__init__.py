"""Language models: scoring them on tasks of text."""
