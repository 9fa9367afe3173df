"""``python -m services.runner``."""

from services import host
from services.runner.service import serve
from services.runner.settings import read


def main() -> None:
    host.run("runner", serve, id=read().node)


if __name__ == "__main__":
    main()
