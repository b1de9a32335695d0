"""`python -m app` is `smartstudy`."""

from app.cli import main

main()
