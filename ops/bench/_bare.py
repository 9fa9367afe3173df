"""The engine's other side: mlx-lm's BatchGenerator and nothing around it.

``python -m ops.bench._bare MODEL HOME`` loads a model as our engine does and then answers each line
of its input, a list of conversations and the tokens wanted of each, with a line of its output:
how many tokens were generated, and in how many seconds.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from services.runner.engine import blas

blas.preload()  # Before the first import of mlx.

from mlx_lm.generate import BatchGenerator  # noqa: E402

from proto.prompt import Chat, Turn  # noqa: E402
from services.runner.engine.loading import LoadedModel, load  # noqa: E402
from services.runner.engine.prompts.prompt import tokens_of  # noqa: E402


def main() -> None:
    source, home = sys.argv[1:]
    loaded = load(source, Path(home))
    print(json.dumps({"ready": loaded.card.id}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        tokens, seconds = generated(loaded, asked["conversations"], asked["max_tokens"])
        print(json.dumps({"tokens": tokens, "seconds": seconds}), flush=True)


def generated(
    loaded: LoadedModel, conversations: list[list[dict[str, Any]]], max_tokens: int
) -> tuple[int, float]:
    """All of them in one batch, from text to the last token."""
    started = time.perf_counter()
    prompts = [tokens_of(_chat(messages), loaded) for messages in conversations]
    generator = BatchGenerator(
        loaded.model,
        stop_tokens=[[token] for token in loaded.tokenizer.eos_token_ids],
        completion_batch_size=len(prompts),
        prefill_batch_size=len(prompts),
    )
    tokens = 0
    waiting = set(generator.insert(prompts, max_tokens=[max_tokens] * len(prompts)))
    while waiting:
        for response in generator.next()[1]:
            tokens += response.finish_reason != "stop"
            if response.finish_reason is not None:
                waiting.remove(response.uid)
    seconds = time.perf_counter() - started
    generator.close()
    return tokens, seconds


def _chat(messages: list[dict[str, Any]]) -> Chat:
    return Chat(turns=tuple(Turn(role=m["role"], content=m["content"]) for m in messages))


if __name__ == "__main__":
    main()
