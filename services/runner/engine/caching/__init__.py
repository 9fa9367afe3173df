"""What was computed is kept: the beginnings of prompts, and what the mesh calls them."""
