"""Chances and times made honest on tasks that no model was fitted on."""
