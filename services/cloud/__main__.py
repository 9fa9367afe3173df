"""``python -m services.cloud``."""

from services import host
from services.cloud.service import serve


def main() -> None:
    host.run("cloud", serve)


if __name__ == "__main__":
    main()
