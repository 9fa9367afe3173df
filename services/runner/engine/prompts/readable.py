"""What of a prompt a model here reads: without what is for upstreams only."""

from proto.errors import Code, MeshError
from proto.prompt import Chat, Prompt


def readable(prompt: Prompt, model: str) -> Prompt:
    """Raises MeshError for documents."""
    if not isinstance(prompt, Chat):
        return prompt
    if prompt.documents:
        raise MeshError(
            Code.UNSUPPORTED_PARAMETER,
            f"{model} does not read documents: send their text, or ask a model that does",
            param="messages",
        )
    return prompt.unmarked()
