"""Small real data that need no download, shifts made from them, and models trained on them."""
