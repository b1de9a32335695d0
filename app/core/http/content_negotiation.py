"""What a request's Accept header asks for (RFC 9110, section 12.5.1)."""


def weight(accept: str, kind: str) -> float:
    """Return how much the header wants this media type or language, 0-1; 0 where it names it not."""
    weights: dict[str, float] = {}
    for part in accept.split(","):
        named, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        weights[named] = float(quality) if quality.isascii() and quality.replace(".", "", 1).isdigit() else 0.0
    return weights.get(kind, 0.0)
