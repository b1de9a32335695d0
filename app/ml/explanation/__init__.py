"""Why a task was predicted as it was."""
