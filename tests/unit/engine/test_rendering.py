"""Templates that their models' authors should not have written."""

import threading
import time
from contextlib import suppress

import pytest
from jinja2 import TemplateError

from proto.errors import Code, MeshError
from proto.inference import Chat, Turn
from services.runner.engine import patience as patience_module
from services.runner.engine import rendering
from services.runner.engine.patience import OutOfPatience, patience
from services.runner.engine.prompts.prompt import tokens_of

HI = Chat(turns=(Turn(role="user", content="Hi"),))
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
ENDLESS_AFTER_ONE_CALL = (
    "{% set x = range(99999)|list %}{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}"
)


@pytest.fixture
def written(tiny, monkeypatch):
    def write(template: str):
        monkeypatch.setattr(tiny.tokenizer._tokenizer, "chat_template", template)
        return tiny

    return write


@pytest.mark.parametrize("template", [ENDLESS, ENDLESS_AFTER_ONE_CALL])
def test_a_template_without_end_is_interrupted(written, monkeypatch, template):
    monkeypatch.setattr(rendering, "RENDERING_S", 0.1)
    began = time.monotonic()

    with pytest.raises(MeshError, match="did not come to an end") as refused:
        tokens_of(HI, written(template))

    assert refused.value.code is Code.INVALID_REQUEST
    assert time.monotonic() - began < 5


def test_a_template_that_says_too_much_is_refused(written, monkeypatch):
    monkeypatch.setattr(rendering, "MOST_CHARS", 1000)

    with pytest.raises(MeshError, match="1000 are the most"):
        tokens_of(HI, written("{% for a in range(2000) %}x{% endfor %}"))


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__ }}{{ [].__class__.__base__.__subclasses__()[0] }}",
        "{{ raise_exception.__globals__['os'].system('true') }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum.__globals__['os'].getcwd() }}",
        "{{ self._TemplateReference__context.environment.compile('1') }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ ('%s'|format).__globals__ }}",
        "{{ messages.append(1) }}",
        "{{ (messages|attr('__class__')).mro() }}",
        "{% set x = messages.pop() %}{{ x }}",
    ],
)
def test_a_template_touches_nothing_but_the_conversation(written, template):
    """jinja shows nothing of what it hides, or says that it does not."""
    try:
        shown = written(template).tokenizer.apply_chat_template(
            [{"role": "user", "content": "Hi"}], tokenize=False
        )
    except (TemplateError, AttributeError, TypeError):
        return
    assert shown == ""


def test_patience_that_ends_at_the_last_moment_leaves_nothing_behind():
    for attempt in range(300):
        until = time.monotonic() + 0.0002 + attempt % 30 * 0.00001
        with suppress(OutOfPatience), patience(0.0003):
            while time.monotonic() < until:
                pass
        after = time.monotonic() + 0.0002
        while time.monotonic() < after:  # Nothing may be raised here.
            pass

    assert patience_module._watch._due == {}
    assert not patience_module._watch._lock.locked()


def test_many_threads_are_interrupted_each_in_its_own_time():
    ended: list[float] = []

    def run() -> None:
        began = time.monotonic()
        try:
            with patience(0.1):
                while True:
                    pass
        except OutOfPatience:
            ended.append(time.monotonic() - began)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(ended) == 4
