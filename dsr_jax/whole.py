"""Files that appear whole or not at all, whatever happens while they are written."""

import os
from pathlib import Path


def write(file: str | os.PathLike[str], content: bytes) -> Path:
    """Writes a temporary file beside the other and moves it there, so that nobody ever sees half of it.

    Args:
      file: where to; its folder is made if missing.
      content: all of it.

    Returns:
      The file.

    Raises:
      OSError: if it cannot be written; an older file then stays as it is.

    Example:
      >>> import tempfile
      >>> from dsr_jax import whole
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     whole.write(f"{folder}/deep/file", b"all of it").read_bytes()
      b'all of it'
    """
    target = Path(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target
