# What a machine is, as NAME=VALUE lines; what it does not tell stays empty.
# $1: the folder that will hold a node, absolute or in the home.
# It runs where nothing of ours is yet, maybe no Python, so: plain sh.

PATH="$PATH:$HOME/.local/bin:$HOME/.cargo/bin:/opt/homebrew/bin:/usr/local/bin:/usr/sbin:/sbin"
case $1 in /*) folder=$1 ;; *) folder=$HOME/$1 ;; esac
say() { printf '%s=%s\n' "$1" "$2"; }

say system "$(uname -s)"
say machine "$(uname -m)"
say hostname "$(hostname 2>/dev/null || uname -n)"
say user_id "$(id -u)"
say home "$HOME"
say folder "$folder"
say clock_s "$(date +%s)"

if [ "$(uname -s)" = Darwin ]; then
  say release "macOS $(sw_vers -productVersion)"
  say chip "$(sysctl -n machdep.cpu.brand_string)"
  say memory_bytes "$(sysctl -n hw.memsize)"
  say wired_limit_mb "$(sysctl -n iogpu.wired_limit_mb 2>/dev/null)"
  say boot "$(sysctl -n kern.bootsessionuuid 2>/dev/null)"
else
  say release "$(. /etc/os-release 2>/dev/null; echo "${PRETTY_NAME:-$(uname -sr)}")"
  say chip "$(awk -F': *' '/^model name/ { print $2; exit }' /proc/cpuinfo 2>/dev/null)"
  say memory_bytes "$(awk '/^MemTotal/ { printf "%.0f", $2 * 1024 }' /proc/meminfo 2>/dev/null)"
  say boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
fi

there=$folder
while [ ! -d "$there" ]; do there=$(dirname "$there"); done
say free_bytes "$(df -Pk "$there" | awk 'NR == 2 { printf "%.0f", $4 * 1024 }')"
say is_writable "$([ -w "$there" ] && echo yes)"

say uv "$(command -v uv)"
for python in python3.13 python3.12 python3.11 python3.14 python3; do
  path=$(command -v "$python") || continue
  version=$("$path" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue
  can=$("$path" -c 'import sys, venv, ensurepip; print("yes" if sys.version_info >= (3, 11) else "")' 2>/dev/null)
  if [ -n "$can" ]; then say python "$path"; say python_version "$version"; break; fi
  say other_python "$version"
done

if [ "$(uname -s)" = Darwin ]; then say keeper launchd
elif [ -d /run/systemd/system ] && { [ "$(id -u)" = 0 ] ||
  XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user show-environment >/dev/null 2>&1; }; then
  say keeper systemd
else say keeper process; fi

if [ -e "$folder/deployed.json" ]; then say holds ours
elif [ -n "$(ls -A "$folder" 2>/dev/null)" ]; then say holds other; fi
