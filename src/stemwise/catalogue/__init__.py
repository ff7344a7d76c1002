"""Many songs: what they are, what became of each, and who works on them."""
