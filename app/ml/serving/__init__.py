"""The versions that answer in this process, and how their answers are pooled."""
