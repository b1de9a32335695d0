"""SmartStudy."""

__version__ = "1.0.0"  # the one place; `pyproject.toml`, `GET /`, the API document and `--version` read it here
