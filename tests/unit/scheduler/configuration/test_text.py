"""A configuration's text, and which line is wrong with it."""

import pytest

from proto.cluster import ClusterConfig, ClusterMember
from proto.config import Config, KeyConfig, LoadingConfig, ModelConfig
from services.scheduler.configuration.document import NotConfig
from services.scheduler.configuration.text import parse


def test_every_section_is_read() -> None:
    text = f"""
default_model: org/large
aliases:
  gpt-4o: org/large
  claude-sonnet*: org/large
models:
  org/large: {{temperature: 0.6, context: 32768, pinned: yes, system_prefix: "Be brief."}}
  "org/*": {{idle_ttl_s: 600}}
loading: {{on_demand: off, min_residence_s: 10}}
clusters:
  garage:
    backend: jaccl
    members:
      - {{node: a, address: 10.0.0.1, rdma_to: {{b: rdma_en5}}}}
      - {{node: b, rdma_to: {{a: rdma_en4}}}}
keys:
  me: {{sha256: {"a" * 64}, weight: 2, tokens_per_minute: 1000}}
others: {{priority: batch}}
"""

    assert parse(text) == Config(
        default_model="org/large",
        aliases={"gpt-4o": "org/large", "claude-sonnet*": "org/large"},
        models={
            "org/large": ModelConfig(
                temperature=0.6, context=32768, pinned=True, system_prefix="Be brief."
            ),
            "org/*": ModelConfig(idle_ttl_s=600),
        },
        loading=LoadingConfig(on_demand=False, min_residence_s=10),
        clusters={
            "garage": ClusterConfig(
                members=(
                    ClusterMember(node="a", address="10.0.0.1", rdma_to={"b": "rdma_en5"}),
                    ClusterMember(node="b", rdma_to={"a": "rdma_en4"}),
                ),
                backend="jaccl",
            )
        },
        keys={"me": KeyConfig(sha256="a" * 64, weight=2, tokens_per_minute=1000)},
        others=KeyConfig(priority="batch"),
    )


@pytest.mark.parametrize("text", ["", "# nothing but a remark\n", "---\n", "models:\naliases:\n"])
def test_an_empty_file_says_nothing(text: str) -> None:
    assert parse(text) == Config()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("default_model: m\nalaises: {}\n", 2, "such setting; did you mean `aliases`?"),
        ("models:\n  b:\n    contxt: 5\n", 3, "`models.b.contxt`: there is no such setting; did"),
        ("models:\n  a:\n    temperature: hot\n", 3, "`models.a.temperature`: expected `float"),
        ("models:\n  a:\n    context: 0\n", 3, "`models.a.context`: expected `int` >= 1"),
        ("aliases:\n  x: m\n  y: [m]\n", 3, "`aliases.y`: expected `str"),
        ("loading:\n  on_demand: maybe\n", 2, "`loading.on_demand`: expected `bool"),
        ("keys:\n  me:\n    sha256: secret\n", 3, "`keys.me.sha256`: expected `str` matching"),
        ("aliases:\n  a: m\n  b: m\n  a: n\n", 4, "`a` stands at line 2 already"),
        ("aliases:\n  1: m\n", 2, "a name must be text"),
        ("models: [a, b]\n", 1, "`models`: expected `object"),
        ("- a\n", 1, "expected `object`"),
        ("aliases: {a: m\nmodels: {}\n", 2, "no YAML"),
        ("a: b\n---\nc: d\n", 2, "no YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(NotConfig) as wrong:
        parse(text)

    assert wrong.value.line == line
    assert words in str(wrong.value)
    assert str(wrong.value).startswith(f"line {line}: ")


CLUSTER = """clusters:
  garage:
    backend: {backend}
    members:
      - node: a
        rdma_to: {{{a}}}
      - node: b
        rdma_to: {{{b}}}
      - node: {third}
"""


@pytest.mark.parametrize(
    ("told", "line", "words"),
    [
        ({"a": "b: en5"}, 7, "a has a device towards b, and b has none back: add `a: rdma_"),
        ({"third": "a"}, 9, "a stands for another member already; keep one"),
        ({"a": "z: en5"}, 6, "z is no member: take it out, or add it to members"),
        ({"a": "a: en5"}, 6, "a needs no device towards itself"),
        ({"a": "b: en5, c: en5", "b": "a: en5"}, 6, "en5 leads to b already, and a cable has two"),
        (
            {"backend": "jaccl", "a": "b: en5", "b": "a: en5"},
            3,
            "a and c have none: connect them by Thunderbolt and add `rdma_to` to both, or write",
        ),
        ({"third": "c\n        adress: x"}, 10, "there is no such setting; did you mean `address`"),
        ({"third": "c\n        address: studio.local"}, 10, "studio.local is no IP address"),
        ({"backend": "mpi"}, 3, "'mpi'"),
    ],
)  # fmt: skip
def test_a_cluster_that_could_not_work_is_told_with_its_line(
    told: dict[str, str], line: int, words: str
) -> None:
    plain = {"backend": "ring", "a": "", "b": "", "third": "c"}
    with pytest.raises(NotConfig) as wrong:
        parse(CLUSTER.format(**(plain | told)))

    assert words in str(wrong.value)
    assert wrong.value.line == line


def test_a_cluster_takes_two() -> None:
    with pytest.raises(NotConfig, match=r"line 3: .* at least two members"):
        parse("clusters:\n  garage:\n    members: [{node: a}]\n")
