"""Models, worlds and trials that several claims share. No module here is a paper."""
