import pytest

from proto.frames import Delta, End
from proto.prompt import Chat, Text, Thinking, Turn
from services.runner.engine.constraints.thinking import BUDGETS
from services.runner.engine.constraints.thinking import Thinking as Ways
from services.runner.engine.loading import load
from tests.parrot import TEMPLATE, make_parrot
from tests.unit.engine.asking import receive, saying
from tests.unit.engine.speaking import wrapped

LONG = "<think>" + "so it goes " * 30 + "</think>\n\nYes."
ANYHOW = Thinking()
OPENS_ALWAYS = TEMPLATE.replace("{{ '<|answer|>' }}", "{{ '<think>\n<|answer|>' }}").replace(
    "{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}",
    "",
)


@pytest.fixture
def hear(parrot, drive):
    """``hear(text, thinking, …)``: what comes of an answer in which the model wants to say it."""

    def ask_for(text, thinking=ANYHOW, model=parrot, **rest):
        driver = drive(model)
        settings = {"max_tokens": 1000} | rest
        driver.run(receive(model, "r", saying(text, thinking=thinking), **settings))
        end = driver.last("r")
        assert isinstance(end, End), end
        return Heard(driver.text("r"), driver.text("r", "reasoning"), end, driver)

    return ask_for


class Heard:
    def __init__(self, content, reasoning, end, driver):
        self.content, self.reasoning, self.end, self.driver = content, reasoning, end, driver


@pytest.fixture(scope="module")
def eager(tmp_path_factory):
    """A parrot whose template opens the block itself, whatever it is told."""
    home = tmp_path_factory.mktemp("models")
    folder = make_parrot(home / "Eager", template=OPENS_ALWAYS)
    return load(str(folder), home, trusts_code=True)


def test_a_reasoner_thinks_unless_told_otherwise(hear):
    heard = hear("<think>hm</think>\n\nYes.")
    assert (heard.reasoning, heard.content) == ("hm", "Yes.")
    assert heard.end.usage.reasoning_tokens == 3  # Two of them are the markers.
    assert heard.end.reason == "stop"


def test_tokens_go_with_the_first_frame_and_logprobs_with_content_only(parrot, drive):
    driver = drive(parrot)
    driver.run(receive(parrot, "r", saying("<think>hm</think>\n\nYes."), logprobs=1))
    deltas = driver.deltas("r")
    assert all(delta.tokens for delta in deltas)
    assert {delta.channel for delta in deltas if delta.logprobs} == {"content"}
    content = [d for d in deltas if d.channel == "content" and d.text]
    assert all(delta.logprobs for delta in content)
    assert [delta.seq for delta in driver.frames["r"] if isinstance(delta, Delta)] == list(
        range(1, len(deltas) + 1)
    )


@pytest.mark.parametrize("budget", [1, 7, 40])
def test_a_budget_closes_the_block_to_the_token(hear, budget):
    heard = hear(LONG, Thinking(budget_tokens=budget))
    opened_and_closed = 2
    assert heard.end.usage.reasoning_tokens == budget + opened_and_closed
    assert heard.reasoning
    assert LONG.startswith("<think>" + heard.reasoning)
    assert "think>" not in heard.reasoning + heard.content
    assert heard.content.endswith("Yes.")


def test_a_budget_that_is_not_used_up_changes_nothing(hear):
    heard = hear(LONG, Thinking(budget_tokens=500))
    assert heard.content == "Yes."


def test_a_block_that_the_template_opened_counts_from_its_first_token(hear, eager):
    heard = hear("hm</think>\n\nYes.", model=eager)
    assert (heard.reasoning, heard.content) == ("hm", "Yes.")
    heard = hear("so it goes on and on</think>Yes.", Thinking(budget_tokens=3), model=eager)
    assert heard.end.usage.reasoning_tokens == 4


def test_disabled_thinking_is_closed_at_once_where_the_template_opens_it_anyway(hear, eager):
    heard = hear("hm</think>\n\nYes.", Thinking(enabled=False), model=eager)
    assert heard.reasoning == ""
    assert heard.end.usage.reasoning_tokens == 1


def test_disabled_thinking_is_closed_at_once_where_the_model_opens_it_anyway(hear):
    for off in (Thinking(enabled=False), Thinking(effort="none"), Thinking(budget_tokens=0)):
        heard = hear("<think>hm</think>\n\nYes.", off)
        assert heard.reasoning == ""
        assert heard.end.usage.reasoning_tokens == 2


@pytest.mark.parametrize(("effort", "budget"), BUDGETS.items())
def test_effort_is_a_budget_for_templates_that_do_not_know_it(parrot, effort, budget):
    asked = saying("x", thinking=Thinking(effort=effort))
    rules = receive(parrot, "r", asked).outline.rules
    granted = 8192 - len(receive(parrot, "r", asked).prompt)
    if budget is None:
        assert rules is None
    else:
        assert rules.budget == min(budget, int(granted * 0.75))


def test_a_budget_leaves_room_for_an_answer(parrot):
    asked = saying("x", thinking=Thinking(budget_tokens=5000))
    assert receive(parrot, "r", asked, max_tokens=100).outline.rules.budget == 75


def test_what_the_client_began_goes_on_without_new_thinking(parrot, drive):
    turns = (Turn(role="user", content="Hi"), Turn(role="assistant", content="<think>so far"))
    sequence = receive(parrot, "r", Chat(turns=turns, continues_last=True))
    assert sequence.outline.state == "reasoning"
    assert sequence.outline.rules is None
    turns = (Turn(role="user", content="Hi"), Turn(role="assistant", content="Well"))
    assert receive(parrot, "r", Chat(turns=turns, continues_last=True)).outline.state == "normal"


def test_a_plain_prompts_answer_is_given_as_it_is(parrot):
    assert receive(parrot, "r", Text(text="<think>")).outline.machine is None


def test_a_free_neighbours_answer_is_the_same_beside_a_budget(parrot, drive):
    alone, beside = drive(parrot), drive(parrot)
    free = saying(LONG)
    alone.run(receive(parrot, "free", free, max_tokens=200))
    tight = saying(LONG, thinking=Thinking(budget_tokens=5))
    beside.run(
        receive(parrot, "tight", tight, max_tokens=200),
        receive(parrot, "free", free, max_tokens=200),
    )
    assert beside.tokens("free") == alone.tokens("free")
    assert beside.last("tight").usage.reasoning_tokens == 7


@pytest.fixture
def known(tiny):
    """``known(template, effort=…)``: what a request's thinking comes to with that template."""

    def resolve(template, **asked):
        tokenizer = wrapped(tiny.tokenizer, "<think>", "</think>")
        tokenizer.chat_template = template
        chat = Chat(turns=(Turn(role="user", content="?"),), thinking=Thinking(**asked))
        return Ways(tokenizer, reasons=True).resolve(chat)

    return resolve


PICKY = (
    "{% if reasoning_effort is defined and reasoning_effort not in ['low', 'high'] %}"
    "{{ raise_exception('unknown effort') }}{% endif %}{{ reasoning_effort }}"
)


@pytest.mark.parametrize(
    ("asked", "given"),
    [("minimal", "low"), ("low", "low"), ("medium", "low"), ("high", "high"), ("xhigh", "high")],
)
def test_an_effort_that_the_template_rejects_becomes_the_nearest(known, asked, given):
    resolved = known(PICKY, effort=asked)
    assert resolved.template_arguments["reasoning_effort"] == given
    assert resolved.budget is None


def test_a_template_that_makes_no_difference_of_effort_does_not_know_it(known):
    resolved = known("{% if reasoning_effort is defined %}{% endif %}x", effort="low")
    assert "reasoning_effort" not in resolved.template_arguments
    assert resolved.budget == 1024


def test_a_budget_counts_beside_an_effort_that_the_template_knows(known):
    assert known(PICKY, effort="high", budget_tokens=9).budget == 9


def test_templates_are_told_in_their_own_words_whether_to_think(known):
    assert known("{{ enable_thinking }}").template_arguments == {"enable_thinking": True}
    told = known("{{ thinking }}", enabled=False).template_arguments
    assert told == {"enable_thinking": False, "thinking": False}


def test_a_model_that_does_not_reason_is_not_told_anything(tiny):
    asked = Chat(turns=(Turn(role="user", content="?"),), thinking=Thinking(effort="high"))
    assert receive(tiny, "r", asked).outline.rules is None
