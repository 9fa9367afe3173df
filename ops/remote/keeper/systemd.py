"""systemd, on Linux: a unit of the user, for root one of the system."""

import shlex

from ops.remote.keeper.keeper import STOP_S, Run, Unit


class Systemd:
    def unit(self, run: Run) -> Unit:
        folder = "/etc/systemd/system" if run.is_root else f"{run.user_home}/.config/systemd/user"
        wanted_by = "multi-user.target" if run.is_root else "default.target"
        after = "After=network-online.target\nWants=network-online.target\n" if run.is_root else ""
        text = (
            f"[Unit]\nDescription=odyssai node {run.node}\n{after}StartLimitIntervalSec=0\n\n"
            f"[Service]\nExecStart={_command(run.argv)}\n"
            f"WorkingDirectory={_escaped(run.layout.folder)}\n"
            "Restart=always\nRestartSec=2\n"
            # The supervisor ends its children in order; who is left after it goes with it.
            f"KillMode=mixed\nTimeoutStopSec={STOP_S}\n"
            f"StandardOutput=append:{_escaped(run.layout.log)}\nStandardError=inherit\n\n"
            f"[Install]\nWantedBy={wanted_by}\n"
        )
        return Unit(f"{folder}/{_name(run)}", text)

    def start(self, run: Run) -> str:
        lines = [_reach(run), f"{_ctl(run)} daemon-reload"]
        if not run.is_root:
            # Without it a user's units end with their last session. What we gave is taken back.
            lines.append(
                f"if [ ! -e /var/lib/systemd/linger/$(id -un) ] && loginctl enable-linger; "
                f"then touch {_linger(run)}; fi"
            )
        lines += [f"{_ctl(run)} enable --quiet {_name(run)}", f"{_ctl(run)} restart {_name(run)}"]
        return "\n".join(lines)

    def stop(self, run: Run) -> str:
        return (
            f"{_reach(run)}\nif {_ctl(run)} cat {_name(run)} >/dev/null 2>&1; then "
            f"{_ctl(run)} stop {_name(run)}; fi"
        )

    def is_running(self, run: Run) -> str:
        return f"{_reach(run)}\n{_ctl(run)} is-active --quiet {_name(run)}"

    def forget(self, run: Run) -> str:
        lines = [
            _reach(run),
            f"{_ctl(run)} disable --quiet {_name(run)} 2>/dev/null || true",
            f"rm -f {shlex.quote(self.unit(run).path)}",
            f"{_ctl(run)} daemon-reload",
            f"{_ctl(run)} reset-failed {_name(run)} 2>/dev/null || true",
        ]
        if not run.is_root:
            lines.append(f"if [ -e {_linger(run)} ]; then loginctl disable-linger; fi")
        return "\n".join(lines)


def _name(run: Run) -> str:
    return f"odyssai-{run.node}.service"


def _ctl(run: Run) -> str:
    return "systemctl" if run.is_root else "systemctl --user"


def _reach(run: Run) -> str:
    """Over ssh nobody may have said where the user's systemd listens."""
    return ":" if run.is_root else f"export XDG_RUNTIME_DIR=/run/user/{run.user_id}"


def _linger(run: Run) -> str:
    return shlex.quote(f"{run.layout.folder}/lingers")


def _command(argv: tuple[str, ...]) -> str:
    """Variables are put into arguments only, so there alone a dollar is written twice."""
    program, *arguments = argv
    return " ".join([_quoted(program), *(_quoted(word.replace("$", "$$")) for word in arguments)])


def _quoted(word: str) -> str:
    body = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_escaped(body)}"'


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
