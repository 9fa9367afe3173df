"""The agent of one machine: starts, watches, adopts and restarts its engines.

Hears ENGINE_BEAT; says NODE_BEAT, NODE_GONE, ENGINE_GONE, telemetry and the ``engines`` state.
"""
