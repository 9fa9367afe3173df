"""``python -m services.runner.engine``: one loaded model. Started by the agent."""

from services import host
from services.runner.engine import blas, scanning


def main() -> None:
    blas.preload()  # Before the first import of mlx, which binds to whichever BLAS it finds.
    scanning.remember()
    from services.runner.engine.serving import serve
    from services.runner.engine.settings import read

    host.run("engine", serve, id=read().engine)


if __name__ == "__main__":
    main()
