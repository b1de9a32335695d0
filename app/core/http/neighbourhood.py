"""Which addresses count as one caller."""

from ipaddress import IPv6Address, ip_address, ip_network


def neighbourhood(address: str) -> str:
    """Return what stands for an address: of IPv6 its first 64 bits, for who has one has all that begin so."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:  # no address: a socket of the machine's own
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))
