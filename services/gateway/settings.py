"""What can be set, from the environment, once."""

from msgspec import Struct

from services.host import number, setting, switch


class Settings(Struct, frozen=True, kw_only=True):
    host: str
    port: int
    """0: any free one."""
    body_limit_bytes: int
    prompt_limit_chars: int
    """Four bytes a character are what the bus carries in one message of 8 MB."""
    drain_s: float
    """How long open requests may go on when the process is asked to end; its supervisor kills
    after ten seconds."""
    keeps_volatile_lines: bool
    """Prompts hold also the lines of known clients that change with every request."""

    @classmethod
    def read(cls) -> "Settings":
        """From ODYSSAI_HOST, ODYSSAI_PORT and the limits' variables. Raises SettingError."""
        return cls(
            host=setting("ODYSSAI_HOST", "127.0.0.1"),
            port=int(number("ODYSSAI_PORT", 8000)),
            body_limit_bytes=int(number("ODYSSAI_BODY_LIMIT_MB", 32, 1) * 2**20),
            prompt_limit_chars=int(number("ODYSSAI_PROMPT_LIMIT_CHARS", 2_000_000, 1)),
            drain_s=number("ODYSSAI_DRAIN_S", 7.0),
            keeps_volatile_lines=switch("ODYSSAI_KEEP_VOLATILE_LINES"),
        )
