"""Whether two models belong together: one can only guess for the other in the same tokens."""

from collections.abc import Mapping

from services.runner.engine.loading import LoadedModel
from services.runner.engine.not_loadable import NotLoadable


def expect_same_vocabulary(model: LoadedModel, draft: LoadedModel) -> None:
    """Raises NotLoadable that names a token which differs."""
    ours, theirs = model.tokenizer.get_vocab(), draft.tokenizer.get_vocab()
    if ours == theirs:
        return
    text = min(
        (text for text in ours.keys() | theirs.keys() if ours.get(text) != theirs.get(text)),
        key=lambda text: (ours.get(text, theirs.get(text)), text),
    )
    raise NotLoadable(
        f"{draft.card.id} cannot draft for {model.card.id}, because their vocabularies differ: "
        f"{text!r} is {_named(ours, text)} of the one's tokens and {_named(theirs, text)} of the "
        "other's. Choose a smaller model of the same family, or load it without a draft"
    )


def _named(vocabulary: Mapping[str, int], text: str) -> str:
    return f"number {vocabulary[text]}" if text in vocabulary else "none"
