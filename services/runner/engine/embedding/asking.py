"""From a question to rows of tokens, and from a row's numbers to the answer."""

from collections.abc import Sequence

import numpy as np

from proto.embedding import Embed, Rerank
from proto.errors import Code, MeshError
from proto.prompt import Chat, Prompt, Text, Tokens
from services.runner.engine.embedding.loading import LoadedReader
from services.runner.engine.embedding.passes import Numbers
from services.runner.engine.embedding.row import Row
from services.runner.engine.embedding.rows import shortened


def rows_of_texts(asked: Embed, model: LoadedReader) -> list[Row]:
    """A row for each input. Raises MeshError."""
    size = model.card.embedding_size
    if asked.dimensions is not None and asked.dimensions > size:
        raise MeshError(
            Code.INVALID_REQUEST,
            f"`dimensions` is {asked.dimensions}, and the vectors of {model.card.id} have {size} "
            "numbers; ask for at most so many, or leave it out.",
            param="dimensions",
        )
    prompt = _prompt(asked, model)
    texts = [prompt + given.text for given in asked.inputs if isinstance(given, Text)]
    written = iter(model.texts.of(texts))
    rows = [
        next(written) if isinstance(given, Text) else _given(given, model) for given in asked.inputs
    ]
    if asked.truncate:
        return [_cut(row, model.longest) for row in rows]
    _expect_fitting(rows, model, "input", asked.first)
    return rows


def rows_of_pairs(asked: Rerank, model: LoadedReader) -> list[Row]:
    """A row for each document. Raises MeshError."""
    assert model.pairs is not None, "a reranker reads pairs"
    documents: Sequence[str] = asked.documents
    if asked.document_tokens is not None:
        most = asked.document_tokens
        documents = [shortened(model.tokenizer, document, most) for document in documents]
    rows = model.pairs.of(asked.query, documents)
    _expect_fitting(rows, model, "documents", asked.first)
    return rows


def tokens_of(prompt: Prompt, model: LoadedReader, with_specials: bool = True) -> list[int]:
    """What a prompt would be read as. Raises MeshError."""
    match prompt:
        case Chat():
            raise MeshError(
                Code.INVALID_REQUEST,
                f"{model.card.id} has no chat template; send a plain text.",
                param="messages",
            )
        case Text(text=text):
            return model.texts.of([text], with_specials)[0].ids
        case Tokens():
            return _given(prompt, model).ids


def vectors(numbers: Sequence[Numbers], dimensions: int | None) -> tuple[bytes, ...]:
    """As they travel, cut to the first ``dimensions`` numbers and made of length 1 again."""
    table = np.stack(numbers)
    if dimensions is not None and dimensions < table.shape[1]:
        table = table[:, :dimensions]
        table = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    return tuple(row.tobytes() for row in table.astype("<f4"))


def _prompt(asked: Embed, model: LoadedReader) -> str:
    if asked.side is None:
        return model.recipe.default_prompt
    return model.recipe.prompts.get(asked.side, "")


def _given(tokens: Tokens, model: LoadedReader) -> Row:
    """Tokens that the client made itself, as they are."""
    stranger = next((id for id in tokens.ids if not 0 <= id < model.vocab_size), None)
    if stranger is not None:
        raise MeshError(
            Code.INVALID_REQUEST,
            f"token {stranger} is not among the {model.vocab_size} of {model.card.id}; send tokens "
            "of this model, or text",
            param="input",
        )
    return Row(list(tokens.ids), [0] * len(tokens.ids))


def _cut(row: Row, longest: int) -> Row:
    """The beginning, and the last token, which is a special one where the model wants that."""
    if len(row.ids) <= longest:
        return row
    return Row(*([*part[: longest - 1], part[-1]] for part in row))


def _expect_fitting(rows: list[Row], model: LoadedReader, field: str, first: int) -> None:
    for place, row in enumerate(rows, first):
        if len(row.ids) > model.longest:
            counted = "with the query " if field == "documents" else ""
            raise MeshError(
                Code.CONTEXT_OVERFLOW,
                f"`{field}[{place}]` {counted}has {len(row.ids)} tokens, and {model.card.id} reads "
                f"{model.longest} at most; split it, or have it cut.",
                param=field,
            )
        if not row.ids:
            raise MeshError(Code.INVALID_REQUEST, f"`{field}[{place}]` is empty.", param=field)
