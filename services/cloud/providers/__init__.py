"""Which upstreams there are, as the environment, the configuration and the kept keys say."""
