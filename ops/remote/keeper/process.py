"""No keeper: a process of its own, known by its number and the time at which it began.

For machines without an init that keeps services, such as containers. `odyssai join` starts again
what ends below it; nobody starts it again, nor after a reboot.
"""

import shlex

import msgspec

from ops.remote.detached import Started
from ops.remote.keeper.keeper import Run, Unit


class Process:
    def unit(self, run: Run) -> Unit:
        wanted = Started(argv=run.argv, folder=run.layout.folder, log=run.layout.log)
        text = msgspec.json.format(msgspec.json.encode(wanted)).decode() + "\n"
        return Unit(f"{run.layout.folder}/process.json", text)

    def start(self, run: Run) -> str:
        return self._told("start", run)

    def stop(self, run: Run) -> str:
        # An installation that was never finished has nothing that could run.
        return f"if [ -x {shlex.quote(run.layout.python)} ]; then {self._told('stop', run)}; fi"

    def is_running(self, run: Run) -> str:
        return self._told("status", run)

    def forget(self, run: Run) -> str:
        unit = shlex.quote(self.unit(run).path)
        return f"rm -f {unit} {shlex.quote(f'{run.layout.folder}/process.pid')}"

    def _told(self, act: str, run: Run) -> str:
        command = (run.layout.python, "-P", "-m", "ops.remote.detached", act, self.unit(run).path)
        return shlex.join(command)
