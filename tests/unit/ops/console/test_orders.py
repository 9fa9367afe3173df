"""What is typed, and the order that it comes to."""

import pytest

from ops import command
from ops.console.orders import ORDERS
from proto.jobs import (
    Convert,
    Drain,
    Load,
    Order,
    Pin,
    Pull,
    Remove,
    RemoveNode,
    Restart,
    Sync,
    Undrain,
    Unload,
)

M = "org/qwen-4b"


def order(line: str) -> Order:
    args = command.parser().parse_args(line.split())
    return ORDERS[args.order](args)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (f"load {M}", Load(model=M)),
        (
            f"load {M} --node a --node b --replicas 2 --context 4096 --batch 3 --slots 5 --pin"
            " --ttl 30m --no-fetch --no-room --lift-quarantine",
            Load(
                model=M, nodes=("a", "b"), replicas=2, context=4096, batch=3, slots=5,
                is_pinned=True, idle_ttl_s=1800.0, fetches=False, makes_room=False,
                lifts_quarantine=True,
            ),
        ),
        (f"unload {M} --node a --force", Unload(model=M, nodes=("a",), is_forced=True)),
        (f"pin {M}", Pin(model=M)),
        (f"unpin {M}", Pin(model=M, is_pinned=False)),
        (f"pull {M}", Pull(model=M)),
        (f"pull {M}@v1.0 --node a", Pull(model=M, revision="v1.0", nodes=("a",))),
        (f"sync {M} --from a --to b", Sync(model=M, source="a", nodes=("b",))),
        (
            f"convert {M} --bits 4 --group-size 32 --dtype bfloat16 --name x --node a",
            Convert(model=M, bits=4, group_size=32, dtype="bfloat16", name="x", node="a"),
        ),
        (f"rm {M} --node a", Remove(model=M, nodes=("a",))),
        ("drain a", Drain(node="a")),
        ("undrain a", Undrain(node="a")),
        ("restart a --engines", Restart(node="a", engines=True)),
        ("remove a", RemoveNode(node="a")),
    ],
)  # fmt: skip
def test_a_line_comes_to_an_order(line: str, wanted: Order) -> None:
    assert order(line) == wanted


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604_800)]
)
def test_a_time_may_have_a_unit(text: str, seconds: float) -> None:
    wanted = order(f"load {M} --ttl {text}")

    assert isinstance(wanted, Load)
    assert wanted.idle_ttl_s == seconds


@pytest.mark.parametrize(
    "flags", ["--ttl soon", "--ttl m", "--replicas 0", "--context -1", "--batch many"]
)
def test_what_makes_no_sense_is_refused(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        order(f"load {M} {flags}")

    assert flags.split()[1] in capsys.readouterr().err


def test_no_command_takes_a_token_as_an_argument() -> None:
    args = vars(command.parser().parse_args(["pull", M]))

    assert [name for name in args if "token" in name] == []
