"""Well-formed bytes made wrong, as property tests do it: one change or a few, mostly of known sorts."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

TOKENS = (
    b"",
    b"\x00",
    b"\x1f",
    b"\n",
    b"!",
    b"\xff",
    b"\xc0",
    b"\xc2\x85",
    b"\xed\xa0\x80",
    b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + b"\0" * 7,
    b"\xcb\x7f\xf8" + b"\0" * 6,
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xd6\xff\xff\xff\xff\xff",
    b"\xc7\x05\x05hello",
    b"\x91" * 70,
    b"\x81\xa1a" * 70,
    b"\x91" * 2_000,
    b"[" * 2_000,
    b'{"a":' * 200,
    b"a" * 300,
    b"9" * 5_000,
    b"1e5000",
    b"18446744073709551616",
    b"9223372036854775808",
    b"-1",
    b"0",
    b"1.0",
    b"NaN",
    b"true",
    b"null",
    b'"',
    b":",
    b"|",
    b"*1000000\r\n",
    b"$999999999\r\n",
    b"*-1\r\n",
    b"&a [*a]",
    b"!!python/object:os.system",
    b"<<: *a",
    b"\\ud800",
    b"%00%ff",
    b"\xef\xbb\xbf",
)


@st.composite
def changed(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Draw one of the seeds with one to four changes, or bytes out of nowhere."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from((0, 0, 1, 1, 2, 5, 20, len(data))))
        other = draw(st.sampled_from(seeds))
        piece = draw(
            st.one_of(
                st.sampled_from(TOKENS),
                st.binary(max_size=9),
                st.just(data[at : at + length] * 2),
                st.just(other[len(other) // 2 :]),
            )
        )
        data = data[:at] + piece + data[at + length :]
    return data
