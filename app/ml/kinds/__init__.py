"""Kinds of network beyond those of the source documents; `app/domain/kinds.py` names them."""
