"""What the odyssai command takes: a module for each group of commands.

Nothing here imports what takes time; each parser names the module that does the work.
"""
