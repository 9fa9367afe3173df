"""``python -m services.runner``."""

from services import host
from services.runner.restart import Restart, begin_anew
from services.runner.service import serve
from services.runner.settings import read


def main() -> None:
    restart = Restart()
    host.run("runner", lambda at: serve(at, restart), id=read().node)
    if restart.is_due:
        begin_anew()


if __name__ == "__main__":
    main()
