"""Which nodes could serve a model together, how they would share it, and groups as one engine."""
