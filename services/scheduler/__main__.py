"""``python -m services.scheduler``."""

from services import host
from services.scheduler.service import serve


def main() -> None:
    host.run("scheduler", serve)


if __name__ == "__main__":
    main()
