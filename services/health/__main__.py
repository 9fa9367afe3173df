"""``python -m services.health``."""

from services import host
from services.health.service import serve


def main() -> None:
    host.run("health", serve)


if __name__ == "__main__":
    main()
