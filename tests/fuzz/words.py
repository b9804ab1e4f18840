"""Which values are most likely to break something?

Numbers at the edges of types, texts that mean something to a subject, a terminal, a shell or a
database, and pieces of JSON that are none. It does not know any message.
"""

from __future__ import annotations

import msgspec

Raw = msgspec.Raw

NUMBERS: tuple[int, ...] = (
    -1, 0, 1, 2, 7, 64, 255, 256, 1_000, 1_001, 9_999, 10_001, 65_535, 65_536,
    2**31 - 1, 2**31, 2**32, 2**43, 2**48, 2**53, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
    2**64, 10**30, -(2**31) - 1, -(2**63), -(2**63) - 1, -(10**30),
)  # fmt: skip

TEXTS: tuple[str, ...] = (
    "", " ", "\0", "a\0b", "\x01\x02", "\x1b[31m", "\x7f", "\x85", "\r\nX-Forged: 1", "\n", "\t",
    "*", ">", "a.b", "a.>", "a.*", ".", "..", "a b", "a..b", "$JS.API.INFO", "$KV.LOCKS.scheduler",
    "_INBOX.x", "_R_.x", "penstock.v1.journal.jobs", "../../etc/passwd", "/", "\\", '"', "'",
    "'; DROP TABLE jobs; --", "${HOME}", "$(id)", "%s%n%x", "{0}", "<script>", "ä", "é" * 64,
    "\u202e", "\ufeff", "\uffff", "😀", "\U000e0001" * 40, "-", "--", "_", "a" * 63, "a" * 64,
    "a" * 128, "a" * 129, "a" * 256, "a" * 257, "a" * 501, "a" * 2_001, "null", "true", "NaN", "0",
    "1", "-1", "1e400", "٣", "²", "0" * 26, "7" + "Z" * 25, "8" + "Z" * 25, "01mcc5rm000000000000",
    "stdout", "stderr", "alive", "lost", "exited", "succeeded", "acme", "default",
    "link", "node", "rack", "site", "zone", "r1",
)  # fmt: skip

LONG_TEXTS: tuple[str, ...] = (
    "a" * 5_000,
    "\x01" * 5_000,
    "ä" * 20_000,
    "\\" * 33_000,
    "a" * 70_000,
)

PIECES: tuple[Raw, ...] = tuple(
    Raw(piece)
    for piece in (
        b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e-400", b"0.1", b"1.0", b"1e3",
        b"-0", b"01", b"+1", b"0x10", b"1_000", b".5", b"1.", b"9" * 400, b"9" * 5_000, b"tru",
        b"nul", b"True", b"None", b"undefined", b"", b",", b":", b"[", b"]", b"{", b"}", b'"',
        b"'x'",
        b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf8\x88\x80\x80\x80"', b'"\\ud800"',
        b'"\\ud800\\ud800"', b'"\\udc00 and more"', b'"\\u0000"', b'"\\x41"', b'"\\', b'"a\nb"',
        b'"a\x00b"', b"\x00", b"\xff", b"/* */", b"// x", b"null", b"{}", b"[]", b"[[]]", b'{"":0}',
        b'{"kind":"exited"}', b'{"fact":"node_removed"}', b'{"a":1,"a":2}',
    )
)  # fmt: skip

DEEP: tuple[Raw, ...] = tuple(
    Raw(opening * depth + closing * depth)
    for depth in (8, 300, 3_000)
    for opening, closing in ((b"[", b"]"), (b'{"a":[', b"]}"))
)

SUBJECT_TOKENS: tuple[str, ...] = (
    "acme", "other", "default", "n1", "n2", "stranger", "-", "_", "--", "*", ">", "", "ä", "😀",
    "a" * 63, "a" * 64, "a" * 300, "$JS", "%00", "submit", "cancel", "explode", "SUBMIT", "1",
    "0", "-1", "²",
    "9" * 30, "9" * 4_400, "stdout", "STDOUT",
)  # fmt: skip
"""What a broker lets stand as one token, and what an in-memory caller could hand over besides."""
