"""A student's own data: exported and erased."""
