"""`python -m app` is `smartstudy`."""

from app.cli.main import main

main()
