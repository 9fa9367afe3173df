import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runner.engine.calls.writing import UNREADABLE
from tests.unit.engine.calls.families import FAMILIES, mistral_list, plain
from tests.unit.engine.calls.reading import TOOLS, Heard, mlx_calls, pieces

TAGS = ("</", "<|", "]]>", "<escape>", "<![CDATA[", "\0")
CALLS = [
    (
        "get_weather",
        {
            "city": 'Żółw said: "it\'s <b>cold</b> & 5 < 6",\n\tthen left\\n {a: [1, 2]} 😀',
            "note": None,
            "days": -3,
            "factor": 2.5,
            "exact": False,
            "area": {"name": "a,b:c", "size": 1.0},
            "hours": [1, 2, 3],
        },
    ),
    ("now", {}),
    ("get_weather", {"city": "Oslo", "unit": "kelvin"}),
]

families = pytest.mark.parametrize("name", FAMILIES)


def texts(name: str) -> st.SearchStrategy[str]:
    """Texts that the family can write at all."""
    alphabet = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from(
        "<>&\"'\\{}[](),:=\n\t "
    )
    every = st.text(alphabet, max_size=40).filter(lambda text: not any(t in text for t in TAGS))
    if FAMILIES[name].trims:
        every = every.map(str.strip)
    if name == "muse_spark":
        every = every.filter(lambda text: not text.startswith('"'))
    return every.filter(lambda text: text.strip().lower() not in ("null", "none", "nil"))


def calls(name: str) -> st.SearchStrategy[list[tuple[str, dict]]]:
    text, numbers = texts(name), st.integers(-(10**9), 10**9)
    reals = st.floats(allow_nan=False, allow_infinity=False, width=32)
    weather = st.fixed_dictionaries(
        {"city": text},
        optional={
            "note": st.none() | text,
            "days": numbers,
            "factor": reals,
            "exact": st.booleans(),
            "unit": st.sampled_from(["celsius", "kelvin"]),
            "area": st.fixed_dictionaries({"name": text}, optional={"size": numbers}),
            "hours": st.lists(numbers, max_size=3),
        },
    )
    one = weather.map(lambda arguments: ("get_weather", arguments)) | st.just(("now", {}))
    return st.lists(one, min_size=1, max_size=3)


@families
@settings(deadline=None, derandomize=True, max_examples=60)
@given(data=st.data())
def test_a_reader_says_exactly_what_was_called_however_the_text_is_cut(name, data):
    called = data.draw(calls(name))
    heard = Heard(name)
    for section in FAMILIES[name].sections(called):
        heard.section(*pieces(section, data.draw(st.lists(st.integers(0, 10**6), max_size=8))))
    assert heard.calls == called


@pytest.mark.parametrize("name", sorted({*FAMILIES} - {"function_gemma", "muse_spark"}))
@settings(deadline=None, derandomize=True, max_examples=60)
@given(data=st.data())
def test_a_reader_agrees_with_the_parser_of_mlx_lm(name, data):
    called = data.draw(calls(name))
    for _, arguments in called:
        if "note" in arguments:  # Its parsers read a text that may be null as any JSON.
            arguments["note"] = None
    for section in FAMILIES[name].sections(called):
        heard = Heard(name).section(*pieces(section, [7, 11]))
        if not (name == "longcat" and heard.calls == [("now", {})]):  # That parser fails there.
            assert heard.calls == mlx_calls(name, section)


@pytest.mark.parametrize("name", ["function_gemma", "muse_spark"])
def test_so_do_readers_of_families_whose_parsers_know_no_schema(name):
    called = [("get_weather", {"city": "Oslo; a < b", "days": 2, "exact": True})]
    (section,) = FAMILIES[name].sections(called)
    assert Heard(name).section(section).calls == mlx_calls(name, section) == called


@families
def test_parallel_calls_are_told_apart_letter_by_letter(name):
    heard = Heard(name)
    for section in FAMILIES[name].sections(CALLS):
        heard.section(*section)
    assert heard.calls == CALLS
    assert len(set(heard.ids)) == 3


@families
def test_arguments_come_out_while_they_are_generated(name):
    city = "word " * 40 + "end"
    (section,) = FAMILIES[name].sections([("get_weather", {"city": city})])
    heard, behind = Heard(name), []
    for at, letter in enumerate(section[: section.index("end")]):
        heard.push(letter)
        begun = section.find("word")
        if at > begun + 12:
            behind.append(at + 1 - begun - len(heard.raw[0][1].partition("word")[2]))
    assert max(behind) < 12


@families
def test_an_answer_cut_off_anywhere_is_a_call_that_is_not_closed(name):
    """Its name once that is certain, and no more of the arguments than is certain."""
    called = CALLS[:1]
    (section,) = FAMILIES[name].sections(called)
    whole = Heard(name).section(section).raw[0][1]
    for end in range(1, len(section)):
        if not section[:end].strip():
            continue
        ((said, arguments),) = Heard(name).push(section[:end]).cut().raw
        if said == UNREADABLE:
            assert json.loads(arguments) == {"text": section[:end].strip()}
        else:
            assert said == "get_weather"
            assert whole.startswith(arguments)


@families
def test_a_section_cut_off_anywhere_keeps_its_first_call(name):
    sections = FAMILIES[name].sections(CALLS[2:] + CALLS[:1])
    if len(sections) > 1:
        return
    first = json.dumps(CALLS[2][1])
    begun = 0
    for end in range(1, len(sections[0])):
        raw = Heard(name).push(sections[0][:end]).cut().raw
        begun = max(begun, len(raw))
        if len(raw) > 1:
            assert raw[0] == ("get_weather", first)
    assert begun == 2


@families
@settings(deadline=None, derandomize=True, max_examples=80)
@given(data=st.data())
def test_whatever_a_model_writes_is_reported_and_never_an_error(name, data):
    """A call is heard of, in order, the same however the text is cut."""
    (section, *_) = FAMILIES[name].sections(CALLS)
    text = data.draw(st.text(max_size=20))
    at, until = sorted(data.draw(st.tuples(*[st.integers(0, len(section))] * 2)))
    broken = section[:at] + text + section[until:]
    cuts = data.draw(st.lists(st.integers(0, 10**6), max_size=5))
    for finish in (Heard.end, Heard.cut):
        whole, cut = Heard(name).push(broken), Heard(name).push(*pieces(broken, cuts))
        assert finish(whole).raw == finish(cut).raw
        assert whole.raw or not broken.strip()


@families
def test_ids_are_the_models_own_or_fresh(name):
    (section, *_) = FAMILIES[name].sections(CALLS[1:2])
    (id,) = Heard(name).section(section).ids
    assert id == "functions.now:0" if name == "kimi_k2" else id.startswith("call_")


@families
def test_an_unknown_tool_is_called_all_the_same(name):
    called = [("strange", {"text": "some words here, more than a few", "n": "x"})]
    (section,) = FAMILIES[name].sections(called)
    assert Heard(name, TOOLS[1:]).section(section).calls == called


def test_mistral_reads_lists_of_calls_and_ids_in_heads():
    (section,) = mistral_list(CALLS)
    assert Heard("mistral").section(*section).calls == CALLS
    headed = "[TOOL_CALLS]now[CALL_ID]abcdef123[ARGS]{}[TOOL_CALLS]now[ARGS]{}"
    heard = Heard("mistral").section(*headed)
    assert heard.calls == [("now", {})] * 2
    assert heard.ids[0] == "abcdef123"


def test_kimi_k3_reads_arguments_in_one_block():
    section = (
        '<|open|>call tool="now" index="1"<|sep|><|open|>json type="object"<|sep|>'
        '{"a": [1, "x"]}<|close|>json<|sep|><|close|>call<|sep|>'
    )
    assert Heard("kimi_k3").section(*section).calls == [("now", {"a": [1, "x"]})]


@pytest.mark.parametrize("name", ["glm47", "longcat", "pythonic"])
def test_json_is_read_where_checkpoints_write_it_instead(name):
    section = '{"name": "now", "arguments": {"a": 1}}'
    section = f"[{section}]" if name == "pythonic" else section
    assert Heard(name).section(*section).calls == [("now", {"a": 1})]


@pytest.mark.parametrize(
    ("section", "arguments"),
    [
        ('now {"a": 1}', {"a": 1}),
        ("now a=1 b='x y'", {"a": 1, "b": "x y"}),
        ("now\n", {}),
    ],
)
def test_glms_plain_forms_are_read(section, arguments):
    assert Heard("glm47").section(*section).calls == [("now", arguments)]


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("'it\\'s'", "it's"),
        ('"a" "b"', "ab"),
        ('"""two\nlines"""', "two\nlines"),
        ('"raw\nline"', "raw\nline"),
        (r'"\x41\u00e9\101\N"', "Aé" + "A\\N"),
        (r'"\ud83d\ude00"', "😀"),
        ('""', ""),
        ("[1, 'a', None, true]", [1, "a", None, True]),
        ("{'k': (1, 2)}", {"k": [1, 2]}),
        ("-1.5e3", -1500.0),
        ("None", None),
        ("Paris", "Paris"),
        ("f(x, [1])", "f(x, [1])"),
    ],
)
def test_python_values_are_read_as_python_means_them(value, meant):
    section = f"[now(a={value}, z=1)]"
    assert Heard("pythonic").section(*section).calls == [("now", {"a": meant, "z": 1})]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('{"name": "now", "arguments": "{\\"a\\": 1}"}', {"a": 1}),
        ('{"name": "now", "arguments": "{\'a\': True}"}', {"a": True}),
        ('{"name": "now", "arguments": ""}', {}),
        ('{"name": "now", "arguments": null}', {}),
        ('{"name": "now"}', {}),
        ('{"arguments": {"a": 1}, "name": "now"}', {"a": 1}),
        ('{"name": "now", "parameters": {"a": 1}}', {"a": 1}),
        ('{"type": "function", "function": {"name": "now", "arguments": {"a": 1}}}', {"a": 1}),
        ('{"name": "now", "arguments": {"a": 1}}}', {"a": 1}),
        ("{'name': 'now', 'arguments': {'a': None}}", {"a": None}),
        ('{"name": "now", "arguments": {"a": "two\nlines"}}', {"a": "two\nlines"}),
        ('{"name": "now", "arguments": {"a": "C:\\users\\d \\"x\\""}}', {"a": 'C:\\users\\d "x"'}),
        ('{"name": "now", "arguments": {"a": "it\\\'s \\u00e9"}}', {"a": "it's é"}),
    ],
)
def test_json_is_mended_and_unpacked(written, meant):
    assert Heard("json_tools").section(*written).calls == [("now", meant)]
    assert Heard("json_tools").section(written).calls == [("now", meant)]


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("json_tools", "get_weather(Oslo)"),
        ("json_tools", '{"arguments": {}}'),
        ("json_tools", '{name: "now"}'),
        ("json_tools", ""),
        ("kimi_k2", "<|tool_call_begin|>functions.now:0"),
        ("qwen3_coder", "<function=now"),
        ("qwen3_coder", "<function=>"),
        ("glm47", " \n"),
        ("gemma4", "now{}"),
        ("pythonic", "now()"),
        ("mistral", "now{}"),
    ],
)
def test_what_nobody_can_make_out_is_told_as_it_was_written(name, section):
    heard = Heard(name).push(section).end()
    assert heard.calls == [(UNREADABLE, {"text": section.strip()})]


def test_a_broken_call_does_not_take_the_next_one_with_it():
    kimi = (
        "<|tool_call_begin|><|tool_call_argument_begin|>{}<|tool_call_end|>"
        "<|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
    )
    assert [name for name, _ in Heard("kimi_k2").section(*kimi).raw] == [UNREADABLE, "now"]
    forgotten = "<function=now><parameter=a>1</parameter><function=now></function>"
    assert Heard("qwen3_coder").section(*forgotten).calls == [("now", {"a": "1"}), ("now", {})]


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("qwen3_coder", "<function=get_weather><parameter=days>\nmany\n</parameter></function>"),
        ("minimax_m2", '<invoke name="get_weather"><parameter name="days">many</parameter>'),
        ("gemma4", "call:get_weather{days:many}"),
    ],
)
def test_a_value_of_the_wrong_type_is_passed_on_as_text(name, section):
    assert Heard(name).push(section).end().calls == [("get_weather", {"days": "many"})]


def test_a_number_beyond_all_floats_stays_the_number_that_was_written():
    section = "<function=get_weather><parameter=factor>1E999</parameter></function>"
    assert Heard("qwen3_coder").section(section).raw == [("get_weather", '{"factor": 1E999}')]


def test_a_text_that_turns_out_to_be_another_is_left_open():
    section = '"get_weather"><param name="city"><![CDATA[twelve letters]]> x</param>'
    ((_, arguments),) = Heard("minicpm5").section(*section).raw
    assert arguments.startswith('{"city": "twelve letters')
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(arguments)


def test_a_text_that_looks_like_another_type_is_still_a_text():
    for name in ("qwen3_coder", "glm47", "longcat", "minimax_m2", "minicpm5", "muse_spark"):
        for city in ("12345", "true", "[1, 2, 3, 4, 5]", '{"a": "bcdefg"}', "1E5"):
            called = [("get_weather", {"city": city})]
            (section,) = FAMILIES[name].sections(called)
            assert Heard(name).section(*section).calls == called, plain(city)


def test_a_long_argument_costs_time_in_proportion():
    """Twenty times the text may not take anything like four hundred times the steps."""
    for name in ("json_tools", "qwen3_coder", "minicpm5", "gemma4", "pythonic", "kimi_k3"):
        city = "line of code\n" * 6000
        (section,) = FAMILIES[name].sections([("get_weather", {"city": city})])
        step = 4
        heard = Heard(name).section(*(section[i : i + step] for i in range(0, len(section), step)))
        assert heard.calls[0][1]["city"].strip() == city.strip()
