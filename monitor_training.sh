#!/bin/sh
# Watch the trainings: who serves, the counter, the run at work with its epochs, errors. Ctrl-C ends it.
set -eu

if [ "${1:-}" = "--help" ] || [ "${1:-}" = "-h" ]; then
    cat <<'HELP'
Usage: ./monitor_training.sh [OPTIONS]

Shows who serves, the counter to the next training, the run at work with its
epochs, versions and errors, and keeps looking until Ctrl-C. It is
`smartstudy status --watch`; OPTIONS are passed on to that.
HELP
    exit 0
fi

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
if [ -x "$here/.venv/bin/smartstudy" ]; then
    exec "$here/.venv/bin/smartstudy" status --watch "$@"
elif command -v smartstudy >/dev/null 2>&1; then
    exec smartstudy status --watch "$@"
fi
echo "There is no smartstudy in $here/.venv/bin or on the PATH; \`make run\` installs it." >&2
exit 127
