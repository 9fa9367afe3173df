"""How long fuzzing lasts: moments in CI, or as long as HYPOTHESIS_PROFILE=long takes."""

import os

from hypothesis import HealthCheck, settings

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]

settings.register_profile(
    "brief", max_examples=15, deadline=None, derandomize=True, suppress_health_check=SLOW
)
settings.register_profile("long", max_examples=20_000, deadline=None, suppress_health_check=SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "brief"))
