"""Responses that outlive their request: in the mesh's state, or generated in the background."""
