"""HTTP itself, whatever is said through it."""
