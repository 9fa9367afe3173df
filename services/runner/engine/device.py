"""``python -m services.runner.engine.device``: what mlx says of the machine, as JSON.

A process of its own, so that its agent has no mlx in memory.
"""

import json
import sys

from services.runner.engine import blas


def main() -> None:
    blas.preload()
    import mlx.core as mx

    told = mx.device_info()
    json.dump({"recommended_bytes": told.get("max_recommended_working_set_size")}, sys.stdout)


if __name__ == "__main__":
    main()
