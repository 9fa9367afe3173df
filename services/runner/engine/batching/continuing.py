"""An answer that another engine began, brought to where that one was lost without a word of it."""

from proto.errors import Code, MeshError
from proto.generation import Continuation
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.constraints.masks import follow
from services.runner.engine.loading import LoadedModel


def go_on(sequence: Sequence, said: Continuation, model: LoadedModel) -> None:
    """Before it is submitted; on any thread, as a long answer takes its time.

    Its last token is left to be said once more, with the log-probabilities that belong to it: the
    client may lack some of its frames. Raises MeshError where there is no room for so much.
    """
    *before, last = said.tokens
    if len(said.tokens) > sequence.max_tokens:
        raise MeshError(
            Code.CONTEXT_OVERFLOW,
            f"the answer has {len(said.tokens)} tokens already and may have {sequence.max_tokens} "
            "on this engine",
        )
    sequence.prepare(model)
    for token in before:
        sequence.said.push(token)
        if sequence.guide is not None:
            follow(sequence.guide, token)
    sequence.prompt = sequence.prompt + before
    sequence.generated = len(before)
    sequence.forced, sequence.delivered = last, said.frames
    sequence.cached, sequence.ran_before = said.cached_tokens, True
