"""Papers on making one model of several."""
