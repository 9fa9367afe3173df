"""What is served at and below /v1/responses."""

from collections.abc import Mapping

from services.gateway.gateway import Endpoint
from services.gateway.repeatable import repeatable
from services.gateway.responses.compact import compact
from services.gateway.responses.count import count_input
from services.gateway.responses.create import create
from services.gateway.responses.stored import cancel, delete, list_input, retrieve

ROOT = "/v1/responses"
READ = {"GET": retrieve, "HEAD": retrieve, "DELETE": delete}


def endpoints(path: str) -> Mapping[str, Endpoint]:
    """By method; none where there is nothing."""
    match path.removeprefix(ROOT).strip("/").split("/"):
        case [""]:
            return {"POST": repeatable(create)}
        case ["input_tokens"]:
            return {"POST": count_input}
        case ["compact"]:
            return {"POST": repeatable(compact)}
        case [_]:
            return READ
        case [_, "cancel"]:
            return {"POST": cancel}
        case [_, "input_items"]:
            return {"GET": list_input, "HEAD": list_input}
        case _:
            return {}
