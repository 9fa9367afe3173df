"""Tool calls in a model's own syntax: read out of its answer, and prescribed by a grammar.

A family is a syntax that models were trained on; mlx-lm names them by the
modules of ``mlx_lm.tool_parsers``. Nothing here knows of batches or frames.
"""
