"""A real sshd on loopback, with a key of its own and a home of its own for whoever logs in."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.mesh.house import END_S, LOOK_S, environment, free_port, living

BINARY = shutil.which("sshd") or "/usr/sbin/sshd"
START_S = 10.0
PASSED_ON = ("PIP_", "UV_", "SSL_", "LD_", "HF_HUB_OFFLINE", "PYTHONPATH")
"""What of this machine's environment a stranger's would have as well: where packages are."""


class Sshd:
    """Another machine, as far as ssh tells: it has a home and an environment of its own."""

    def __init__(self, folder: Path, client_key: Path) -> None:
        self.home = folder / "home"
        self.port = free_port()
        self._folder = folder
        self._log = folder / "sshd.log"
        self._words = folder / "bin"
        self.home.mkdir(parents=True)
        make_key(folder / "host_key")
        shutil.copyfile(client_key.with_suffix(".pub"), folder / "authorized_keys")
        (folder / "authorized_keys").chmod(0o600)
        self._configure()
        self._process = self._start()

    @property
    def host(self) -> str:
        """As it is typed."""
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def known(self) -> str:
        """A line of known_hosts."""
        return f"[127.0.0.1]:{self.port} {(self._folder / 'host_key.pub').read_text()}"

    def give_word(self, name: str, script: str) -> Path:
        """A command there that is found before all others of its name. The folder of such."""
        self._words.mkdir(exist_ok=True)
        (self._words / name).write_text(f"#!/bin/sh\n{script}\n")
        (self._words / name).chmod(0o755)
        return self._words

    def _configure(self) -> None:
        passed = {k: v for k, v in environment().items() if k.startswith(PASSED_ON)}
        caches = {
            "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path("~/.cache/uv").expanduser())),
            "PIP_CONFIG_FILE": os.environ.get("PIP_CONFIG_FILE", str(_pip_settings())),
            # A link to a file of another disk is none.
            "UV_LINK_MODE": "copy" if _are_apart(self.home) else "hardlink",
        }
        own = {"HOME": str(self.home), "PATH": f"{self._words}:{os.environ['PATH']}"}
        told = " ".join(f'"{k}={v}"' for k, v in (caches | passed | own).items())
        (self._folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\n"
            f"HostKey {self._folder / 'host_key'}\n"
            f"AuthorizedKeysFile {self._folder / 'authorized_keys'}\n"
            f"PidFile {self._folder / 'sshd.pid'}\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n"
            "StrictModes no\nPermitRootLogin prohibit-password\n"
            f"Subsystem sftp internal-sftp\nSetEnv {told}\n"
        )

    def _start(self) -> subprocess.Popen[bytes]:
        if os.geteuid() == 0:
            # Where it puts its unprivileged half; distributions make it when they start their own.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [BINARY, "-D", "-e", "-f", str(self._folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + START_S
        while not _listens(self.port):
            assert process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(LOOK_S)
        return process

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def inhabitants(self) -> list[psutil.Process]:
        """Whoever runs out of its home."""
        there = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if str(self.home) in " ".join(process.cmdline()):
                    there.append(process)
        return living(there)

    def end(self) -> None:
        """Nobody stays."""
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in self.inhabitants():
            with suppress(psutil.NoSuchProcess):
                process.kill()


class Operator:
    """Who types: a home with ssh's settings, for the machines that it knows."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ssh = home / ".ssh"
        self.ssh.mkdir(parents=True, mode=0o700)
        self.key = self.ssh / "id_ed25519"
        make_key(self.key)

    def knows(self, *machines: Sshd) -> None:
        (self.ssh / "known_hosts").write_text("".join(each.known for each in machines))

    @property
    def told(self) -> dict[str, str]:
        return {"HOME": str(self.home), "SSH_AUTH_SOCK": ""}


def make_key(path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _are_apart(folder: Path) -> bool:
    cache = Path(os.environ.get("UV_CACHE_DIR", "~/.cache/uv")).expanduser()
    return cache.exists() and cache.stat().st_dev != folder.stat().st_dev


def _pip_settings() -> Path:
    for place in ("~/.config/pip/pip.conf", "~/.pip/pip.conf"):
        if (found := Path(place).expanduser()).exists():
            return found
    return Path(os.devnull)
