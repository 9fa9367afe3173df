"""How it is said: request and reply, token streams, presence, state, telemetry. Knows NATS."""
