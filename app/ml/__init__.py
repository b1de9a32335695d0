"""Features, models, training, and the service that puts them together."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.ml.embedding_service import EmbeddingModelService

__all__ = ["EmbeddingModelService"]


def __getattr__(name: str) -> Any:
    """Only who asks for the service pays for importing it."""
    if name == "EmbeddingModelService":
        from app.ml.embedding_service import EmbeddingModelService

        return EmbeddingModelService
    raise AttributeError(name)
