"""launchd, on a Mac: an agent of the user, for root a daemon of the system."""

import plistlib
import shlex

from ops.remote.keeper.keeper import STOP_S, Run, Unit


class Launchd:
    def unit(self, run: Run) -> Unit:
        place = "" if run.is_root else run.user_home
        kind = "LaunchDaemons" if run.is_root else "LaunchAgents"
        said: dict[str, object] = {
            "Label": _label(run),
            "ProgramArguments": list(run.argv),
            "EnvironmentVariables": {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
            "WorkingDirectory": run.layout.folder,
            "RunAtLoad": True,
            "KeepAlive": True,
            # Anything else is slowed down where nobody sits at the machine.
            "ProcessType": "Interactive",
            "ExitTimeOut": STOP_S,
            "StandardOutPath": run.layout.log,
            "StandardErrorPath": run.layout.log,
        }
        if not run.is_root:
            # Without it launchd takes an agent for one of whoever sits at the screen.
            said["LimitLoadToSessionType"] = "Background"
        text = plistlib.dumps(said, sort_keys=False).decode()
        return Unit(f"{place}/Library/{kind}/{_label(run)}.plist", text)

    def start(self, run: Run) -> str:
        path = shlex.quote(self.unit(run).path)
        return f"{self.stop(run)}\nlaunchctl bootstrap {_domain(run)} {path}"

    def stop(self, run: Run) -> str:
        # launchd says that it is gone before it is.
        return (
            f"launchctl bootout {_target(run)} 2>/dev/null || true\n"
            f"for i in $(seq {5 * STOP_S}); do "
            f"launchctl print {_target(run)} >/dev/null 2>&1 || break; sleep 0.2; done"
        )

    def is_running(self, run: Run) -> str:
        return f'launchctl print {_target(run)} 2>/dev/null | grep -q "state = running"'

    def forget(self, run: Run) -> str:
        return f"rm -f {shlex.quote(self.unit(run).path)}"


def _label(run: Run) -> str:
    return f"ai.odyssai.node.{run.node}"


def _domain(run: Run) -> str:
    """Of a user it is the one that is there also where nobody sits at the Mac, as over ssh."""
    return "system" if run.is_root else f"user/{run.user_id}"


def _target(run: Run) -> str:
    return f"{_domain(run)}/{_label(run)}"
