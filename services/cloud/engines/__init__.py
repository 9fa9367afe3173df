"""Engines that somebody else runs near by: how each make is recognised, and what it takes."""
