"""Which engine serves which request.

Hears SCHEDULE, ENGINE_BEAT, NODE_BEAT, GONE and the ``engines`` state; says SERVICE_BEAT.
"""
