from tests.fuzz import profiles  # noqa: F401 - loading it chooses the profile
