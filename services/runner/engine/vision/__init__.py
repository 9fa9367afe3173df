"""Models that see: mlx-vlm's vision towers in front of language models that batch like any other.

A picture becomes rows of embeddings that stand where a prompt has the picture's
patches; from there on it is read, cached, batched and cancelled as text is.
"""
