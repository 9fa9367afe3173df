"""A provider as people see it."""

from proto.config import ProviderConfig
from proto.presence import EngineBeat
from services.cloud.providers.view import seen


def beat(**fields: object) -> EngineBeat:
    plain = {"engine": "cloud.or", "node": "cloud", "boot": "b", "pid": 1, "models": ()}
    return EngineBeat(**(plain | {"state": "ready"} | fields))


def test_one_that_is_left_alone_is_not_said_to_be_ready() -> None:
    down = beat(circuit="open", trouble="it answered 500")
    trying = beat(circuit="half_open", trouble="it answered 500")

    views = [seen("or", ProviderConfig(), each, (), {}) for each in (beat(), down, trying)]

    assert [(view.state, view.trouble) for view in views] == [
        ("ready", ""),
        ("left alone", "it answered 500"),
        ("left alone", "it answered 500"),
    ]
