"""On which node a model fits, and what to say when it fits on none."""
