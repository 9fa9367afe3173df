"""``python -m services.gateway``."""

from services import host
from services.gateway.service import serve


def main() -> None:
    host.run("gateway", serve)


if __name__ == "__main__":
    main()
