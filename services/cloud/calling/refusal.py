"""What an upstream's refusals and failures mean to who asked here."""

from collections.abc import Mapping

import msgspec
from aiohttp import ConnectionTimeoutError, ServerTimeoutError

from proto.errors import Code, MeshError
from services.cloud.calling.retrying import told_s


def unreadable(name: str, error: Exception) -> MeshError:
    return MeshError(
        Code.UPSTREAM, f"The upstream {name!r} sent an answer that cannot be read: {error}"
    )


class Broken(MeshError):
    """The upstream is not well, whatever it is asked: that is more than one answer gone wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.UPSTREAM, message)


def broken(name: str, error: Exception) -> Broken:
    if isinstance(error, ServerTimeoutError) and not isinstance(error, ConnectionTimeoutError):
        return Broken(f"The upstream {name!r} was silent for too long and was given up.")
    return Broken(
        f"The upstream {name!r} could not be reached or broke off: "
        f"{str(error) or type(error).__name__}."
    )


def broken_off(name: str) -> Broken:
    """Its answer ended before it was complete."""
    return Broken(f"The upstream {name!r} broke off in the middle.")


def refusal(
    name: str, status: int, body: bytes, headers: Mapping[str, str], *, stays: bool = False
) -> MeshError:
    """By its status, in its own words. ``stays``: it was told to keep it in the local network."""
    message, param = _told(body)
    said = f"The upstream {name!r} answered {status}: {message}"
    if status < 400:
        # Its key, and what is asked, are for that address and no other.
        where = headers.get("location", "elsewhere")
        said = f"The upstream {name!r} leads to {where}, where nobody goes: name its last address."
    match status:
        case 429:
            wait_s = told_s(headers)
            return MeshError(Code.QUEUE_FULL, said, retry_after_s=1.0 if wait_s is None else wait_s)
        case 404:
            return MeshError(Code.MODEL_NOT_FOUND, said, param="model")
        case 400 | 413 | 422:
            return MeshError(Code.INVALID_REQUEST, said, param=param)
        case 403 if stays:
            return MeshError(Code.FORBIDDEN, said, param=param)
        case 401:
            return MeshError(
                Code.UPSTREAM, f"The upstream {name!r} refuses its key; the operator must renew it."
            )
        case _ if status >= 500:
            return Broken(said)
        case _:
            return MeshError(Code.UPSTREAM, said)


def _told(body: bytes) -> tuple[str, str | None]:
    """Message and parameter. OpenAI's and Anthropic's errors have both at the same place."""
    try:
        error = msgspec.json.decode(body)["error"]
        return str(error.get("message", error)), error.get("param")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return body.decode(errors="replace")[:500], None
