"""Where the command `smartstudy` begins: it takes the package `app` that lies beside this file.

`app` is a common name. Whoever has PYTHONPATH point at a project of theirs (often `.`) may have an `app.py` there,
which would be found first; once ours is imported, all that is below it comes from the same place.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import app  # noqa: F401

del sys.path[0]


def main() -> None:
    from app.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
