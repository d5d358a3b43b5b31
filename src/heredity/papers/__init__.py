"""Publications, each as a card and a runnable check: `heredity papers`, `heredity reproduce`, `heredity cite`."""
