"""HTTP in, messages out: the only process that speaks the vendors' dialects to clients.

Hears ENGINE_BEAT, NODE_BEAT, GONE and the STREAM of its requests; asks SCHEDULE,
GENERATE, COUNT_TOKENS and REPLAY; says CANCEL, GATEWAY_BEAT, GONE
and REQUEST_TELEMETRY.
"""
