"""What operators ask of a mesh from a terminal: what is there, and that it be otherwise.

Decides nothing: it asks the schedulers, and tells what they answer.
"""
