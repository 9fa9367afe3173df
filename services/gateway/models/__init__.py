"""Which models there are, told in every dialect that asks."""
