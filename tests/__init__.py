"""What NumPy computes here, it computes on one thread, as in the training process: this is imported before it."""

from app.core.one_thread import use_one_thread

use_one_thread()
