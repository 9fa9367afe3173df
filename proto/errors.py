"""Why a request was refused: one code, its HTTP status, and how it is said on the bus.

``MeshError`` is the exception inside a process; ``Refused`` is the same thing
as a message. Each dialect maps the code to its own envelope and nothing else.
"""

from enum import Enum

from proto.message import Message


class Code(Enum):
    """A dialect-neutral reason. The value is what travels; ``status`` is its HTTP status."""

    INVALID_REQUEST = ("invalid_request", 400)
    UNSUPPORTED_PARAMETER = ("unsupported_parameter", 400)
    CONTEXT_OVERFLOW = ("context_length_exceeded", 400)
    PREVIOUS_NOT_FOUND = ("previous_response_not_found", 400)
    UNAUTHORIZED = ("invalid_api_key", 401)
    FORBIDDEN = ("forbidden", 403)
    NOT_FOUND = ("not_found", 404)
    MODEL_NOT_FOUND = ("model_not_found", 404)
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405)
    SLOW_CLIENT = ("request_timeout", 408)
    CONFLICT = ("conflict", 409)
    KEY_REUSED = ("idempotency_key_reused", 422)
    TOO_LARGE = ("request_too_large", 413)
    URL_TOO_LONG = ("url_too_long", 414)
    UNSUPPORTED_MEDIA = ("unsupported_media_type", 415)
    MISDIRECTED = ("misdirected_request", 421)
    HEADERS_TOO_LARGE = ("headers_too_large", 431)
    QUEUE_FULL = ("queue_full", 429)
    RATE_LIMITED = ("rate_limit_exceeded", 429)
    BUDGET_SPENT = ("insufficient_quota", 429)
    CANCELLED = ("cancelled", 499)
    INTERNAL = ("internal_error", 500)
    LOAD_FAILED = ("model_load_failed", 500)
    ENGINE_LOST = ("engine_lost", 502)
    UPSTREAM = ("upstream_error", 502)
    NO_ENGINE = ("no_engine", 503)
    UPSTREAM_DOWN = ("upstream_unavailable", 503)
    TOO_MANY_CONNECTIONS = ("too_many_connections", 503)
    NOT_LOADED = ("model_not_loaded", 503)
    BUS_UNAVAILABLE = ("bus_unavailable", 503)
    NO_LEADER = ("no_leader", 503)
    LOOP = ("loop_detected", 508)
    NO_MEMORY = ("insufficient_memory", 507)
    NO_DISK = ("insufficient_disk", 507)
    QUARANTINED = ("model_quarantined", 503)
    DEADLINE = ("deadline_exceeded", 504)

    def __init__(self, word: str, status: int) -> None:
        self.word = word
        self.status = status

    @classmethod
    def of(cls, word: str) -> "Code":
        """The code behind a word; a word of a newer peer counts as an internal error."""
        return _BY_WORD.get(word, cls.INTERNAL)

    @property
    def is_elsewhere_curable(self) -> bool:
        """True when another engine might accept what this one refused."""
        return self in _CURABLE_ELSEWHERE

    @property
    def is_curable_by_another_model(self) -> bool:
        """True when it is no fault of the request: what another model makes of it is open.

        A deadline that passed is one, too, where it is the model's own, such as for its loading.
        """
        return self in _CURABLE_BY_ANOTHER_MODEL


_BY_WORD = {code.word: code for code in Code}
_CURABLE_ELSEWHERE = {
    Code.QUEUE_FULL,
    Code.ENGINE_LOST,
    Code.NO_ENGINE,
    Code.UPSTREAM_DOWN,
    Code.BUS_UNAVAILABLE,
}
_CURABLE_BY_ANOTHER_MODEL = _CURABLE_ELSEWHERE | {
    Code.MODEL_NOT_FOUND,
    Code.INTERNAL,
    Code.LOAD_FAILED,
    Code.UPSTREAM,
    Code.NOT_LOADED,
    Code.NO_MEMORY,
    Code.NO_DISK,
    Code.QUARANTINED,
    Code.DEADLINE,
}


class Refused(Message, frozen=True, kw_only=True, tag="refused"):
    """The answer to a question that will not be served."""

    code: str
    """The word of a ``Code``."""
    message: str
    """For people: what is wrong and what to do."""
    param: str | None = None
    """The request field at fault."""
    retry_after_s: float | None = None

    def error(self) -> "MeshError":
        return MeshError(
            Code.of(self.code), self.message, param=self.param, retry_after_s=self.retry_after_s
        )


class MeshError(Exception):
    """A request cannot be served; carries all that any dialect needs to say so."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def refusal(self) -> Refused:
        return Refused(
            code=self.code.word,
            message=self.message,
            param=self.param,
            retry_after_s=self.retry_after_s,
        )
