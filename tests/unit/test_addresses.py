"""Which addresses are public: an IPv4 address of the inside is not let out by being written into IPv6."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hookline.addresses import is_public

MASK = 0xFFFF_FFFF


def within(prefix: str, shift: int = 0) -> Callable[[IPv4Address], IPv6Address]:
    """Return how an IPv4 address is written behind a prefix, so many bits from the end."""
    return lambda inner: IPv6Address(int(IPv6Address(prefix)) | int(inner) << shift)


#: Every way that has been in use.
FORMS: dict[str, Callable[[IPv4Address], IPv6Address]] = {
    "mapped (::ffff:0:0/96)": within("::ffff:0:0"),
    "compatible (::/96)": within("::"),
    "translated (::ffff:0:0:0/96)": within("::ffff:0:0:0"),
    "NAT64 (64:ff9b::/96)": within("64:ff9b::"),
    "local NAT64 (64:ff9b:1::/48), last bits": within("64:ff9b:1::"),
    "local NAT64 (64:ff9b:1::/48), first bits": within("64:ff9b:1::", 48),
    "6to4 (2002::/16)": within("2002::", 80),
    "Teredo (2001::/32), client": lambda inner: IPv6Address(
        int(IPv6Address("2001:0:4136:e378:8000::")) | (int(inner) ^ MASK)
    ),
    "Teredo (2001::/32), server": within("2001::", 64),
    "ISATAP, local": within("2606:2800:21f:cb07:0:5efe::"),
    "ISATAP, global": within("2606:2800:21f:cb07:200:5efe::"),
}

INSIDE = st.one_of(
    *(
        st.integers(int(network[0]), int(network[-1])).map(IPv4Address)
        for network in map(
            ipaddress.IPv4Network,
            ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "0.0.0.0/8",
             "100.64.0.0/10", "224.0.0.0/4", "240.0.0.0/4"),
        )
    )
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@given(inner=INSIDE)
@example(inner=IPv4Address("127.0.0.1"))
@example(inner=IPv4Address("169.254.169.254"))
def test_an_address_inside_is_inside_in_every_form(
    form: Callable[[IPv4Address], IPv6Address], inner: IPv4Address
) -> None:
    """The loopback, private networks and the clouds' metadata, as they are and written into IPv6."""
    assert not is_public(str(inner))
    assert not is_public(str(form(inner)))
    assert not is_public(f"{form(inner)}%eth0")


@given(value=st.integers(int(IPv6Address("2000::")), 2**128 - 1))
def test_what_is_public_is_so_to_python_too(value: int) -> None:
    """From global unicast upwards no address is let through that Python's own tables call private."""
    address = IPv6Address(value)
    assert address.is_global or not is_public(str(address))


@pytest.mark.parametrize(
    "address",
    ["::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00::1", "ff02::1", "100::1", "5f00::1",
     "2001:db8::1", "2001:2::1", "2001:10::1", "3fff::1", "4000::1"],
)  # fmt: skip
def test_what_is_no_host_on_the_internet_is_refused(address: str) -> None:
    """Link-local, unique local, multicast, documentation, and what was never given out."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2a00:1450:4001:80e::200e",
     "2001:4860:4860::8888", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"],
)  # fmt: skip
def test_the_internet_is_public(address: str) -> None:
    """IPv4, IPv6, and IPv4 through the translator of a network that has IPv6 alone."""
    assert is_public(address)
