import json

import pytest

from proto.dialects.embeddings import MOST_INPUTS, asked_embeddings
from proto.dialects.rerank import asked_rerank
from proto.errors import Code, MeshError
from proto.prompt import Text, Tokens


def body(**fields):
    return json.dumps({"model": "m", "input": "x"} | fields).encode()


def ranking(**fields):
    return json.dumps({"model": "m", "query": "q", "documents": ["a", "b"]} | fields).encode()


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("a", (Text(text="a"),)),
        (["a", "b"], (Text(text="a"), Text(text="b"))),
        ([1, 2, 3], (Tokens(ids=(1, 2, 3)),)),
        ([[1], [2, 3]], (Tokens(ids=(1,)), Tokens(ids=(2, 3)))),
        ([7] * 3000, (Tokens(ids=(7,) * 3000),)),
    ],
    ids=["text", "texts", "tokens", "lists of tokens", "many tokens of one text"],
)
def test_every_form_of_input_is_understood(given, inputs):
    assert asked_embeddings(body(input=given)).inputs() == inputs


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": None}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": [1.5]}, "input[0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": ["a", 1]}, "input"),
        ({"input": ["a"] * (MOST_INPUTS + 1)}, "input"),
        ({"model": ""}, "model"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "8"}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"input_type": "poem"}, "input_type"),
        ({"inputs": ["a"]}, "inputs"),
    ],
)
def test_what_makes_no_sense_is_named(fields, param):
    with pytest.raises(MeshError) as refused:
        asked_embeddings(body(**fields)).inputs()

    assert refused.value.code is Code.INVALID_REQUEST
    assert refused.value.param == param


def test_null_is_the_same_as_leaving_out():
    asked = asked_embeddings(body(dimensions=None, encoding_format=None, user=None, truncate=None))

    assert (asked.dimensions, asked.encoding_format, asked.truncate) == (None, None, None)


def test_documents_are_texts_or_objects_with_one():
    asked = asked_rerank(ranking(documents=["a", {"text": "b", "title": "T"}]))

    assert asked.texts == ["a", "b"]
    assert asked.ignored == ()


def test_what_has_no_effect_is_said():
    assert asked_rerank(ranking(max_chunks_per_doc=3, priority=1)).ignored == (
        "max_chunks_per_doc",
        "priority",
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": [{"title": "T"}]}, "documents[0].text"),
        ({"documents": ["a"] * 10_001}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
        ({"topn": 1}, "topn"),
    ],
)
def test_a_ranking_that_makes_no_sense_is_named(fields, param):
    with pytest.raises(MeshError) as refused:
        asked_rerank(ranking(**fields))

    assert refused.value.param == param
