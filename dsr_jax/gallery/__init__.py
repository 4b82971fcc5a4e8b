"""Galleries on disk: a table of Lance in a folder, behind the interface of `match.Gallery`."""

import importlib

for _name in ("lance", "pyarrow"):
    try:
        importlib.import_module(_name)
    except ModuleNotFoundError as _missing:
        raise ModuleNotFoundError(
            f"a gallery on disk needs {_missing.name}: pip install 'dsr_jax[gallery]'", name=_missing.name
        ) from _missing
