"""Why an engine has no model."""


class NotLoadable(Exception):
    """The model cannot be loaded; the message says what to do about it."""
