"""Papers on what varies and selects."""
