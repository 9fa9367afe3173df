"""Whether a machine can be a node: pure, from what ``examine.sh`` says of it."""

from typing import Literal

from msgspec import Struct

from ops.words import duration, size

NEEDED_BYTES = 2 << 30
"""An environment with all that is locked takes half a gigabyte, an upgrade has two of them."""
USEFUL_BYTES = 4 << 30
"""Of memory: with less there is hardly a model to serve."""
OLDEST_MACOS = 14
"""mlx is built for it and newer."""
SKEW_S = 30.0
WRONG_S = 86_400.0
"""A clock so far off takes the mesh's certificate for one that is not good yet, or no more."""
SYSTEMS = {("Darwin", "arm64"), ("Linux", "x86_64"), ("Linux", "aarch64")}

Level = Literal["fails", "warns"]


class Machine(Struct, frozen=True, kw_only=True):
    """Zero and empty: it does not tell."""

    system: str
    machine: str
    hostname: str = ""
    user_id: int = -1
    home: str
    folder: str
    release: str = ""
    chip: str = ""
    memory_bytes: int = 0
    wired_limit_mb: int = 0
    """0 on a Mac: as macOS chooses."""
    boot: str = ""
    """Another each time it starts, and the same for all that run on it, containers included."""
    clock_s: float = 0.0
    """Unix time there."""
    free_bytes: int = 0
    is_writable: bool = False
    uv: str = ""
    python: str = ""
    """Python 3.11 or newer that can make environments."""
    python_version: str = ""
    other_python: str = ""
    """The version of one that is too old or lacks venv."""
    keeper: Literal["launchd", "systemd", "process"] = "process"
    """The best that can keep a node running."""
    holds: Literal["", "ours", "other"] = ""
    """What is in the folder."""

    @property
    def described(self) -> str:
        parts = (self.release, self.chip, self.memory_bytes and size(self.memory_bytes))
        return " · ".join(str(part) for part in parts if part)


class Finding(Struct, frozen=True):
    level: Level
    sentence: str


def read(text: str) -> Machine:
    """Raises ValueError for what no such script says."""
    told = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    known = {name: told[name] for name in Machine.__struct_fields__ if told.get(name)}
    missing = [name for name in ("system", "machine", "home", "folder") if name not in known]
    if missing:
        raise ValueError(f"the machine does not tell its {', '.join(missing)}")
    numbers = {"user_id", "memory_bytes", "wired_limit_mb", "free_bytes"}
    whole = {name: int(float(value)) for name, value in known.items() if name in numbers}
    rest = {"clock_s": float(known.get("clock_s", 0)), "is_writable": "is_writable" in known}
    return Machine(**{**known, **whole, **rest})  # type: ignore[arg-type]


def judge(machine: Machine, now_s: float, rtt_s: float = 0.0) -> list[Finding]:
    """``now_s`` is this machine's time at which that one's clock was read, give or take
    ``rtt_s``.
    """
    found = [
        *_system(machine),
        *_python(machine),
        *_disk(machine),
        *_memory(machine),
        *_clock(machine.clock_s - now_s, rtt_s),
        *_keeper(machine),
    ]
    return sorted(found, key=lambda finding: finding.level)


def _system(machine: Machine) -> list[Finding]:
    if (machine.system, machine.machine) not in SYSTEMS:
        kind = f"{machine.system} on {machine.machine}"
        return [Finding("fails", f"{kind} cannot run mlx; it takes Apple silicon or Linux.")]
    major = machine.release.removeprefix("macOS ").split(".")[0]
    if machine.system == "Darwin" and major.isdigit() and int(major) < OLDEST_MACOS:
        sentence = f"{machine.release} is too old for mlx; update it to macOS {OLDEST_MACOS}."
        return [Finding("fails", sentence)]
    return []


def _python(machine: Machine) -> list[Finding]:
    if machine.python or machine.uv:
        return []
    old = f", only {machine.other_python}" if machine.other_python else ""
    remedy = (
        "brew install python@3.13, or uv"
        if machine.system == "Darwin"
        else "apt install python3-venv, or uv"
    )
    return [Finding("fails", f"There is no Python 3.11 or newer with venv{old}: {remedy}.")]


def _disk(machine: Machine) -> list[Finding]:
    if machine.holds == "other":
        sentence = f"{machine.folder} holds something else; choose another --folder."
        return [Finding("fails", sentence)]
    if not machine.is_writable:
        return [Finding("fails", f"{machine.folder} cannot be written; choose another --folder.")]
    if 0 < machine.free_bytes < NEEDED_BYTES:
        free, needed = size(machine.free_bytes), size(NEEDED_BYTES)
        sentence = f"{free} are free where {machine.folder} is; {needed} are needed."
        return [Finding("fails", sentence)]
    return []


def _memory(machine: Machine) -> list[Finding]:
    if 0 < machine.memory_bytes < USEFUL_BYTES:
        sentence = f"{size(machine.memory_bytes)} of memory hold small models only."
        return [Finding("warns", sentence)]
    if 0 < machine.wired_limit_mb << 20 < machine.memory_bytes // 2:
        sentence = (
            f"iogpu.wired_limit_mb={machine.wired_limit_mb} lets models have less than half of "
            "the memory; `sudo sysctl iogpu.wired_limit_mb=0` gives the choice back to macOS."
        )
        return [Finding("warns", sentence)]
    return []


def _clock(ahead_s: float, rtt_s: float) -> list[Finding]:
    off_s = abs(ahead_s) - rtt_s
    if off_s < SKEW_S:
        return []
    way = "ahead" if ahead_s > 0 else "behind"
    remedy = "have it set by the network"
    sentence = f"Its clock is {duration(off_s)} {way} of this machine's; {remedy}."
    return [Finding("fails" if off_s > WRONG_S else "warns", sentence)]


def _keeper(machine: Machine) -> list[Finding]:
    if machine.keeper != "process":
        return []
    sentence = (
        "It has neither launchd nor systemd: after a reboot the node has to be deployed anew."
    )
    return [Finding("warns", sentence)]
