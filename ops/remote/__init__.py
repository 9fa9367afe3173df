"""What must happen on a machine before an agent runs there, over ssh: looked at, installed, kept
running, upgraded, taken down.
"""
