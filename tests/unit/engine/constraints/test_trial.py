"""What compiling a grammar may cost, and whom."""

from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from proto.errors import Code, MeshError
from proto.format import Format, Grammar, JsonSchema, Regex
from services.runner.engine.calls.family import family_of
from services.runner.engine.constraints import trial, trying
from services.runner.engine.constraints.grammars import Grammars, vocabulary
from services.runner.engine.constraints.trial import Trial
from services.runner.engine.loading import load


@pytest.fixture(scope="module")
def grammars(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grammars]:
    model = load(str(tiny_model), tmp_path_factory.mktemp("home"))
    tried = Trial(lambda: vocabulary(model))
    yield Grammars(model, family_of(model.tokenizer), tried)
    tried.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, grammars: Grammars) -> None:
    assert grammars._trial is not None
    grammars._trial.close()
    hurried = f"import {trying.__name__} as trying; trying.TRIAL_S = 0.2; trying.main()"
    monkeypatch.setattr(trial, "PROGRAM", ("-c", hurried))


def schema(of: dict[str, Any]) -> JsonSchema:
    return JsonSchema(schema=of, name="x", strict=True)


def rules(count: int) -> str:
    names = " | ".join(f"r{at}" for at in range(count))
    return "\n".join(
        [f"start: {names}", *(f'r{at}: "x{at}" r{(at + 1) % count}?' for at in range(count))]
    )


EXPLOSIVE = {
    "a large divisor": schema({"type": "integer", "multipleOf": 99_999_989}),
    "patterns that must all hold": schema(
        {"allOf": [{"type": "string", "pattern": f"^(.*a.{{{n}}}).*$"} for n in range(1, 30)]}
    ),
    "rules without end, which crash the compiler": Grammar(source=rules(3000)),
}


@pytest.mark.parametrize("case", EXPLOSIVE)
def test_a_format_that_explodes_is_refused_and_takes_nothing_along(impatient, grammars, case):
    with pytest.raises(MeshError) as refused:
        grammars.content(EXPLOSIVE[case])

    assert refused.value.code is Code.UNSUPPORTED_PARAMETER
    assert refused.value.param == "response_format"
    assert "make it smaller" in refused.value.message
    assert not grammars.content(Regex(pattern="[ab]+")).is_error()


def test_what_exploded_once_is_not_tried_again(grammars, monkeypatch):
    tried = grammars._trial
    monkeypatch.setattr(tried, "_started", lambda: pytest.fail("it was tried again"))
    tried.close()

    with pytest.raises(MeshError, match="make it smaller"):
        grammars.content(EXPLOSIVE["a large divisor"])


NESTED: dict[str, Any] = {"type": "string"}
FINE: list[Format] = [
    schema(reduce(lambda s, _: {"type": "array", "items": s}, range(30), NESTED)),
    schema({"enum": [f"value {at}" for at in range(2000)]}),
    schema({"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(300)}}),
    schema({"type": "string", "format": "date-time"}),
    Regex(pattern=r"(\p{L}+ ){1,50}\p{N}{4}"),
]


@pytest.mark.parametrize("wanted", FINE, ids=range(len(FINE)))
def test_formats_that_people_use_are_taken(grammars, wanted):
    assert not grammars.content(wanted).is_error()


def test_what_is_wrong_with_a_grammar_is_told_as_before(grammars):
    with pytest.raises(MeshError, match=r"the regular expression cannot be enforced: .*unclosed"):
        grammars.content(Regex(pattern="("))
