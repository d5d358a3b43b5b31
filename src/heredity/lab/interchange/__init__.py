"""A lab and the world outside: lineages in formats that other programs read, trackers, copies elsewhere."""
