"""Files that a reader finds whole or not at all."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes | str, exclusive: bool = False) -> bool:
    """Write ``data`` (text as UTF-8) beside ``path``, flush it to the disk and rename it into place.

    With ``exclusive`` a path that is taken stays as it is, and False is returned.  OSError, its ``filename`` being
    ``path``, if the file cannot be written (disk full, no such folder, no permission); ``path`` is then what it was
    before, and nothing is left beside it.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # a temporary file is its owner's alone
        if exclusive:
            os.link(temporary, path)
        else:
            temporary.replace(path)
    except FileExistsError:
        return False
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return True
