#!/bin/sh
# A leash for programs that cannot watch the supervisor's lifeline themselves, such as nats-server:
#
#   sh leash.sh PROGRAM ARGUMENT…   with the lifeline as standard input
#
# When the lifeline ends, because the supervisor is gone however it went, the program is ended. When
# the program ends by itself, so does the leash, with its status. SIGTERM is handed on.
# Plain POSIX: it runs on dash, bash and macOS alike.
exec 3<&0 </dev/null
program=
asked=
trap 'asked=yes; [ -z "$program" ] || kill -TERM "$program" 2>/dev/null' TERM INT HUP
"$@" 3<&- &
program=$!
[ -z "$asked" ] || kill -TERM "$program" 2>/dev/null
(
  # `read` returns at the lifeline's end only: nobody ever writes.
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
# A signal that is handed on makes `wait` return early, with the signal's status.
while kill -0 "$program" 2>/dev/null; do
  wait "$program"
  status=$?
done
# It may have ended, and been noted, in that very moment; 127 says that there is no more to learn.
wait "$program" 2>/dev/null
last=$?
[ "$last" = 127 ] || status=$last
kill -KILL "$watch" 2>/dev/null
exit "$status"
