"""Templates that their models' authors should not have written."""

import time

import psutil
import pytest
from jinja2 import TemplateError
from transformers.utils.chat_template_utils import _cached_compile_jinja_template

from proto.errors import Code, MeshError
from proto.prompt import Chat, Turn
from services.runner.engine import rendering, typesetter
from services.runner.engine.prompts.prompt import tokens_of
from services.runner.engine.typesetting import MEMORY_BYTES, environment
from tests.tiny import TEMPLATE

MOST_S = 10.0
"""Far more than it takes to start a process: the cores may be shared with other tests."""
HI = Chat(turns=(Turn(role="user", content="Hi"),))
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
ENDLESS_AFTER_ONE_CALL = (
    "{% set x = range(99999)|list %}{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}"
)


ENDLESS_IN_ONE_WORD = "{{ 10 ** (10 ** 9) }}"
"""No other thread would get its turn."""
GREEDY = {
    "in one word": "{{ 'x' * 10 ** 10 }}",
    "a list in one word": "{{ [0] * 10 ** 10 }}",
    "by a width": "{{ 'x'|center(10 ** 10) }}",
    "by a format": "{{ '%10000000000d' % 1 }}",
    "by another format": "{{ '{:>10000000000}'.format(1) }}",
    "by replacing": "{{ ('x' * 10 ** 6)|replace('x', 'y' * 10 ** 6) }}",
    "by joining": "{{ range(99999)|join('x' * 10 ** 6) }}",
    "by doubling": "{% set n = namespace(x='x') %}{% for a in range(99) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}",
    "bit by bit": "{% set n = namespace(x=[]) %}{% for a in range(99999) %}"
    "{% set n.x = [n.x, 'x' * (10 ** 5 + a)] %}{% endfor %}",
    "by saying it": "{% for a in range(99999) %}{{ 'x' * (10 ** 5 + a) }}{% endfor %}",
}


@pytest.fixture
def written(tiny, monkeypatch):
    def write(template: str):
        monkeypatch.setattr(tiny.tokenizer._tokenizer, "chat_template", template)
        return tiny

    return write


@pytest.mark.parametrize("template", [ENDLESS, ENDLESS_AFTER_ONE_CALL, ENDLESS_IN_ONE_WORD])
def test_a_template_without_end_is_interrupted(written, monkeypatch, template):
    monkeypatch.setattr(rendering, "RENDERING_S", 0.1)
    began = time.monotonic()

    with pytest.raises(MeshError, match="did not come to an end") as refused:
        tokens_of(HI, written(template))

    assert refused.value.code is Code.INVALID_REQUEST
    assert time.monotonic() - began < MOST_S


@pytest.mark.parametrize("case", GREEDY)
def test_a_template_that_takes_too_much_memory_is_refused_and_costs_the_engine_none(written, case):
    before = psutil.Process().memory_info().rss

    with pytest.raises(MeshError) as refused:
        tokens_of(HI, written(GREEDY[case]))

    assert refused.value.code is Code.INVALID_REQUEST
    assert "more memory than" in refused.value.message
    assert psutil.Process().memory_info().rss - before < MEMORY_BYTES / 8
    assert tokens_of(HI, written(TEMPLATE))


def test_memory_is_watched_where_the_system_does_not_bound_it(written, monkeypatch):
    unbound = "import resource; resource.setrlimit = lambda *_: None; import runpy; "
    run = f"runpy.run_module({typesetter.PROGRAM[1]!r}, run_name='__main__')"
    monkeypatch.setattr(typesetter, "PROGRAM", ("-c", unbound + run))
    monkeypatch.setattr(typesetter, "MEMORY_BYTES", 100 << 20)
    rendering._typesetter.close()

    with pytest.raises(MeshError, match="more memory than"):
        tokens_of(HI, written(GREEDY["bit by bit"]))

    monkeypatch.undo()
    assert rendering._typesetter._process is None


def test_a_process_that_was_lost_meanwhile_is_started_anew(written):
    model = written(TEMPLATE)
    before = tokens_of(HI, model)
    rendering._typesetter._process.kill()
    rendering._typesetter._process.wait()

    assert tokens_of(HI, model) == before


def test_templates_find_what_transformers_gives_them():
    theirs, ours = _cached_compile_jinja_template("").environment, environment()

    assert ours.filters.keys() == theirs.filters.keys()
    assert ours.globals.keys() == theirs.globals.keys()
    assert ours.tests.keys() == theirs.tests.keys()
    assert (ours.trim_blocks, ours.lstrip_blocks) == (theirs.trim_blocks, theirs.lstrip_blocks)
    tags = [
        {tag for one in made.extensions.values() for tag in one.tags} for made in (ours, theirs)
    ]
    assert tags[0] == tags[1]


@pytest.mark.parametrize(
    "template",
    [
        "{% generation %}{% set a = 1 %}a{% endgeneration %}{{ a is defined }}",
        "{% for a in range(9) %}{% if a == 2 %}{% continue %}{% endif %}{% if a > 3 %}{% break %}"
        "{% endif %}{{ a }}{% endfor %}",
        "{{ {'ä': [1, none, 0.5], 'b': '<&>'}|tojson(indent=2, sort_keys=true) }}",
        "{% set n = namespace({'a': 1}, self=2) %}{% set n.a = n.a + 1 %}{{ n.a }}{{ n.self }}",
        "{{ dict([('a', 1)], b=2)|tojson }}{{ dict.fromkeys(['a']) }}",
        "  {%- if true %}\n  a\n  {% endif %}\nb",
        "{{ strftime_now('%Y') }}",
        "{{ x }}{{ x is defined }}",
        "{{ '\ud800' }}",
    ],
)
def test_templates_say_what_they_say_to_transformers(template):
    assert (
        rendering._Template(template).render() == _cached_compile_jinja_template(template).render()
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('No tools, please.') }}",
        "{{ [].x.y }}",
        "{{ 1 / 0 }}",
        "{% if %}",
        "{% set n = namespace(_a=1) %}",
        "{% set n = namespace() %}{% set n._a = 1 %}",
        "{{ dict.__mro__[0] }}",
    ],
)
def test_errors_say_what_they_say_to_transformers(template):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whatever it is
        _cached_compile_jinja_template(template).render()
    with pytest.raises(TemplateError) as ours:
        rendering._Template(template).render()

    assert str(ours.value).split("'")[0] == str(theirs.value).split("'")[0] or "_a" in template


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
