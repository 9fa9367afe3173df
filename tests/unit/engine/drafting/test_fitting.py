"""Which models can guess for which."""

import shutil

import pytest

from services.runner.engine.drafting.execution import DraftedExecution, with_draft
from services.runner.engine.loading import load
from services.runner.engine.not_loadable import NotLoadable
from tests.parrot import MARKERS
from tests.tiny import make_tiny
from tests.tiny_families import make_family


def test_a_model_of_the_same_vocabulary_fits(tmp_path):
    big, small = make_tiny(tmp_path / "Big"), make_tiny(tmp_path / "Small", 1)
    execution = with_draft(str(big), str(small), tmp_path)
    assert isinstance(execution, DraftedExecution)
    assert execution.loaded.card.id == "Big"
    assert execution.drafting.model == "Small"


def test_another_vocabulary_is_refused_with_a_token_that_differs(tmp_path):
    big, other = make_tiny(tmp_path / "Big"), make_tiny(tmp_path / "Other", markers=MARKERS)
    with pytest.raises(NotLoadable) as refused:
        with_draft(str(big), str(other), tmp_path)
    said = str(refused.value)
    assert "Other cannot draft for Big" in said
    assert "vocabularies differ" in said
    both = [load(str(folder), tmp_path).tokenizer.get_vocab() for folder in (big, other)]
    told = said.split("differ: '")[1].split("' is")[0]
    assert both[0].get(told) != both[1].get(told)


def test_a_draft_that_is_not_there_is_named(tmp_path):
    big = make_tiny(tmp_path / "Big")
    with pytest.raises(NotLoadable, match="no/such"):
        with_draft(str(big), "no/such", tmp_path)


@pytest.mark.parametrize("is_draft", [False, True])
def test_a_model_that_keeps_a_state_is_served_without_a_draft_and_says_why(tmp_path, is_draft):
    tiny, state = make_tiny(tmp_path / "Tiny"), make_family(tmp_path / "State", "mamba")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny / name, state / name)
    names = [str(tiny), str(state)] if is_draft else [str(state), str(tiny)]
    execution = with_draft(*names, tmp_path)
    assert not isinstance(execution, DraftedExecution)
    assert execution.drafting.model == ("State" if is_draft else "Tiny")
    assert "State cannot take back" in execution.drafting.trouble
