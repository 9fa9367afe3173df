"""HTTP in, messages out: the only process that speaks the vendors' dialects to clients.

Hears ENGINE_BEAT, NODE_BEAT, ENGINE_GONE, NODE_GONE, GATEWAY_GONE and the STREAM of its
requests; asks SCHEDULE, GENERATE, COUNT_TOKENS and REPLAY; says CANCEL, GATEWAY_BEAT, GATEWAY_GONE
and REQUEST_TELEMETRY.
"""
