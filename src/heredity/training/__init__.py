"""One lifetime: losses, layers, objectives, curricula, regimes."""
