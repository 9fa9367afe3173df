"""What may stand behind a flag."""

import argparse

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return int(text)


def alias(text: str) -> str:
    name, _, model = text.partition("=")
    if not name.strip() or not model.strip() or "," in text:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=MODEL")
    return text


def count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return int(text)


def duration(text: str) -> float:
    """Seconds: of ``90``, ``90s``, ``30m``, ``2h`` or ``7d``."""
    number, unit = (text, "s") if text[-1:].isdigit() else (text[:-1], text[-1:])
    if not number.isdigit() or unit not in UNITS_S:
        raise argparse.ArgumentTypeError(f"{text} is no time; write 90s, 30m, 2h or 7d")
    return float(int(number) * UNITS_S[unit])
