"""Whether something failed because mlx could not have the memory, which only its words tell."""

import re

_WORDS = re.compile(
    r"unable to allocate|attempting to allocate|insufficient memory|out of memory", re.IGNORECASE
)


def is_lack_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or bool(_WORDS.search(str(error)))
