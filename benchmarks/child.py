"""A measurement in a process of its own, held to one thread of arithmetic as trainer and web process are."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from app.core.one_thread import ONE_THREAD

LONGEST = 1800.0  # seconds


def told_by(module: str, *arguments: object, environment: Mapping[str, str] = os.environ) -> Any:
    """What it prints last, as JSON."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    given = {**environment, **ONE_THREAD}
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=LONGEST)
    if done.returncode:
        raise RuntimeError(f"{module}: {(done.stderr.strip().splitlines() or ['ended without a word'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])
