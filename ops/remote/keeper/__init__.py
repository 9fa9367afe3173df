"""Who keeps a node running on its machine: launchd, systemd, or nobody but itself.

Text and commands only, for a session to write and run there.
"""
