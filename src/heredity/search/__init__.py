"""What varies and selects: spaces, ask-tell searchers, selection."""
