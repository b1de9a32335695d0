"""Keras networks: one loop that trains them, one checkpoint that keeps them, one way to serve them without TensorFlow.

A network is one file that fills the contract of `network.py`, and a line in `app/ml/registry.py`.
"""
