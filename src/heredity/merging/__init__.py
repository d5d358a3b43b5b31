"""Several parents' weights become one child."""
