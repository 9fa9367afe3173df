"""What may stand behind a flag."""

import argparse


def port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return int(text)


def alias(text: str) -> str:
    name, _, model = text.partition("=")
    if not name.strip() or not model.strip() or "," in text:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=MODEL")
    return text
