"""pyarrow, which is no package of a Bento: it is imported where it is used."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from data.errors import ConfigError


@functools.cache
def arrow() -> Any:
    """pyarrow, with what is used of it.

    Its memory is taken by jemalloc where there is one: with mimalloc, its own choice, the first large table of a process
    waits for huge pages to be zeroed, half as long again as the work on it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as err:
        raise ConfigError("tables need pyarrow, which is not installed here: pip install '.[batch]'") from err
    with contextlib.suppress(NotImplementedError):
        pyarrow.set_memory_pool(pyarrow.jemalloc_memory_pool())
    return pyarrow


def line(err: Exception) -> str:
    """The first line of what it says."""
    return str(err).splitlines()[0] if str(err) else type(err).__name__
