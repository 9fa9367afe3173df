"""Who is alive, and what to say to people about it.

Hears all heartbeats and farewells; says ALERT_TELEMETRY and SERVICE_BEAT.
"""
