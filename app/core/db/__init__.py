"""The way to PostgreSQL."""

from app.core.db import environment

environment.forget()  # before any driver connects, in every process
