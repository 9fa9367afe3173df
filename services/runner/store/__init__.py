"""The model files of one node: what is there, what it would take to run, and work on them.

Files come from the Hugging Face hub, from another node or out of a conversion; mlx stays in
the engine's processes.
"""
