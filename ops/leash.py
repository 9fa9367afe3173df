"""A leash for programs that cannot watch a lifeline themselves, such as nats-server.

A shell stands between: its standard input is the lifeline. When that ends,
because the supervisor is gone however it went, the shell ends the program.
"""

from collections.abc import Sequence

# Plain POSIX sh, for it runs on dash, bash and macOS alike. The inner shell is the watch on the
# lifeline: `read` returns at its end only. `wait` is left at every signal, hence the loop.
_SCRIPT = """
exec 3<&0 </dev/null
trap 'kill -TERM "$program" 2>/dev/null' TERM INT HUP
"$@" 3<&- &
program=$!
(
  trap - TERM INT HUP
  read -r _ <&3
  kill -TERM "$program" 2>/dev/null
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "$program" 2>/dev/null || exit
    sleep 0.1
  done
  kill -KILL "$program"
) &
watch=$!
wait "$program"
status=$?
while kill -0 "$program" 2>/dev/null; do
  wait "$program"
  status=$?
done
kill -KILL "$watch" 2>/dev/null
exit "$status"
"""


def leashed(argv: Sequence[str]) -> tuple[str, ...]:
    """Ends with the program's own status; SIGTERM is handed on."""
    return ("/bin/sh", "-c", _SCRIPT, "leash", *argv)
