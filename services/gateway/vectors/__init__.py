"""Texts that become vectors or scores: one question, or several side by side."""
