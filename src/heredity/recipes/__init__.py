"""Recipes: a YAML file describes a population, a task and a way to evolve it."""
