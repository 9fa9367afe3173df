"""A small model guesses what the large one will say; the large one checks many guesses at once."""
