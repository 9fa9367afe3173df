"""What all ranks of a group must run alike, since their passes are one computation."""

from importlib.metadata import version

from services.host import VERSION

COMPUTING = ("mlx", "mlx-lm")


def versions() -> str:
    """Such as ``odyssai-mesh 1.2, mlx 0.30.0, mlx-lm 0.28.3``."""
    others = [f"{package} {version(package)}" for package in COMPUTING]
    return ", ".join([f"odyssai-mesh {VERSION}", *others])
