"""Which IP addresses may be fetched from when a stranger names the address: one answer for all fetches."""

from __future__ import annotations

import ipaddress

import httpx

_IPv4 = ipaddress.IPv4Address
_IPv6 = ipaddress.IPv6Address

#: What is given out for hosts on the internet. Beside it lie the loopback, link-local and unique local
#: addresses, and the older ways to write an IPv4 address as one of IPv6.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: The translator's prefix that everybody shares: behind it is the IPv4 address in the last 32 bits. Networks
#: without IPv4 reach the rest of the internet by it. The prefix for local translators, 64:ff9b:1::/48, is
#: refused: where the IPv4 address stands in it is known to its network alone.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Within global unicast, but for documentation, benchmarks and tunnels: 6to4 (2002::/16) and Teredo
#: (2001::/32) carry IPv4 packets to an address that is written into them, and hosts no longer use them.
_NOT_HOSTS = tuple(
    ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
#: The interface identifiers of ISATAP, before its IPv4 address.
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def is_public(address: str) -> bool:
    """Return whether an IP address is a host's on the public internet.

    What carries an IPv4 address inside, and leads there, is as public as that. What cannot be told is not
    public.

    Parameters
    ----------
    address: as a resolver gives it, with a zone or without.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, _IPv4):
        return _is_public_v4(ip)
    value = int(ip)
    if ip.ipv4_mapped is not None:
        return _is_public_v4(ip.ipv4_mapped)
    if ip in _NAT64:
        return _is_public_v4(_IPv4(value & 0xFFFF_FFFF))
    if (value >> 32) & 0xFFFF_FFFF in _ISATAP and not _is_public_v4(_IPv4(value & 0xFFFF_FFFF)):
        return False
    return ip in _GLOBAL_UNICAST and not any(ip in network for network in _NOT_HOSTS)


def _is_public_v4(ip: _IPv4) -> bool:
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def pinned(request: httpx.Request, address: str) -> httpx.Request:
    """Return a request that goes to an address that was checked: a second look-up could give another one.

    Parameters
    ----------
    request: to a host by its name, which stays in its Host header and is what its certificate must say.
    address: one of the host's.
    """
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )
