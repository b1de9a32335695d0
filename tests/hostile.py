"""Input that nobody means well with, and a way to send it byte by byte, past every client that would mend it."""

import base64
import gzip
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from fastapi.testclient import TestClient

NUMBERS = [
    *("NaN", "Infinity", "-Infinity", "-0.0", "0", "-1", "1e308", "-1e308", "1e-308", "5e-324", "1e999", "1E400"),
    *("1" + "0" * 400, "-" + "9" * 5000, "0." + "0" * 400 + "1", "86400.000001", "2147483648", "9223372036854775808"),
]
TEXTS = [
    *("", " ", "\t\n", "a\x00b", "\x00", "x" * 201, "x" * 1_000_000, "\u202etxt.exe", "\u2066a\u2069", "\u200b"),
    *(
        "e\u0301",
        "\u0301",
        "Z\u0351\u0345" * 60,
        "👩‍👩‍👧‍👦",
        "🏴" * 200,
        "a\u2028b\u2029c\x85d",
        "\ufeffbom",
        "ﷺ" * 200,
    ),
    *("'; DROP TABLE users; --", "<script>alert(1)</script>", "{{7*7}}${7*7}%n%s", "../../etc/passwd", "\x1b[31m\x07"),
    *("none", "null", "NaN", "\uffff", "\U0010ffff", "İıſK", "ａｄａ", "%00", "\\u0000", "a" + "\u0300" * 199),
]
RAW_TEXTS = ['"\\ud800"', '"\\udfff\\ud800"', '"a\\ud83d"', '"\\u0000"', '"\\uD83D\\uDE00"', '"\\x"', '"\t"', '"']
OTHERS = [
    *("null", "true", "false", '"true"', '"30"', '"1"', "[]", "{}", "[1]", '{"a": 1}', "[[[[]]]]", '["x"]', "'x'"),
    *(
        "undefined",
        "0x10",
        "1_000",
        "+1",
        ".5",
        "1.",
        "01",
        "1e",
        "[" * 100_000,
        "[" * 900 + "]" * 900,
        '{"a":' * 50_000,
    ),
]
VALUES = [*NUMBERS, *RAW_TEXTS, *OTHERS, *(json.dumps(text, ensure_ascii=False) for text in TEXTS)]

VALID = b'{"topic": "Calculus", "difficulty": "easy"}'
BODIES = [
    *(
        b"",
        b" ",
        b"{",
        b"}",
        b"{}{}",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"\x00",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        VALID + b"x",
    ),
    *(VALID.decode().encode(code) for code in ("utf-16", "utf-16-le", "utf-32", "utf-7", "utf-8-sig", "cp037")),
    b'{"topic": "\xff", "difficulty": "easy"}',
    b'{"topic": "\xc0\x80", "difficulty": "easy"}',
    b'{"topic": "a", "topic": "b", "difficulty": "easy"}',
    b'{"is_correct": true, "is_correct": false, "actual_time_seconds": 5}',
    b'{"__proto__": {}, "constructor": {}, "": 1}',
    b'{"\\ud800": 1}',
    b"[" * 100_000,
    b'{"topic":' * 100_000,
    gzip.compress(VALID),
    b'{"topic": "' + b"x" * 10_000_000 + b'", "difficulty": "easy"}',
    b" " * 11_000_000 + VALID,
    b'{"topic": "a", "difficulty": "easy"' + b"".join(b', "k%d": 1' % n for n in range(50_000)) + b"}",
]
TYPES = [
    *(None, b"", b"text/plain", b"application/xml", b"application/x-www-form-urlencoded", b"multipart/form-data"),
    *(b"multipart/form-data; boundary=", b"multipart/form-data; boundary=\xff", b"application/json; charset=utf-16"),
    *(
        b"application/json; charset=nonsense",
        b"application/vnd.api+json",
        b"APPLICATION/JSON",
        b"\xff\xfe",
        b";;;",
        b"a/b/c",
    ),
]
FORMS = [
    *(b"", b"=", b"&&&", b"username", b"username=&password=", b"username=a&password=b", b"username=%00&password=%00"),
    *(
        b"username=%ff&password=%ff",
        b"username=\xff\xfe&password=\x00",
        b"username=%ud800&password=%",
        b"username=%ED%A0%80&password=b",
    ),
    *(
        b"username=a&username=b&password=c&password=d",
        b"username=" + b"a" * 1_000_000 + b"&password=b",
        b"a=1&" * 50_000,
    ),
    *(b"grant_type=password&username=a&password=" + b"p" * 1_000_000, b"grant_type=nonsense&username=a&password=b"),
]
QUERIES = [
    *(
        "",
        "%00",
        "a%00b",
        "%ff%fe",
        "%ed%a0%80",
        "%",
        "%zz",
        "NaN",
        "Infinity",
        "-1",
        "0",
        "1e308",
        "1" + "0" * 400,
        "0x1",
    ),
    *(
        "true",
        "TRUE",
        "yes",
        "2",
        "null",
        "[]",
        "{}",
        "x" * 201,
        "x" * 60_000,
        "%f0%9f%91%a9",
        "%e2%80%ae",
        "'; DROP TABLE users; --",
    ),
    *(
        "1.0",
        "1.",
        "+1",
        "%2B1",
        "١",
        "１",
        "2147483648",
        "9223372036854775808",
        "00000000-0000-4000-8000-00000000000g",
    ),
    *(
        "{00000000-0000-4000-8000-00000000000a}",
        "urn:uuid:00000000-0000-4000-8000-00000000000a",
        "0" * 32,
        "0000000000004000800000000000000A",
    ),
]
PATHS = [
    *QUERIES[1:],
    "..",
    ".",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "a%2fb",
    "%2e%2e",
    "a;b=c",
    "a%0d%0ab",
    "*",
    "~",
]
NOBODY = "00000000-0000-4000-8000-00000000000a"


def cursor(text: str | bytes) -> str:
    return base64.urlsafe_b64encode(text.encode() if isinstance(text, str) else text).decode()


CURSORS = [
    *("", "x", "====", "%00", "é", "x" * 200, "x" * 201, "YQ", "YQ==", "__--"),
    *(cursor(b"\xff\xfe\x00"), cursor(" "), cursor("  "), cursor("a b"), cursor("a b c"), cursor("\x00 \x00")),
    *(
        cursor(f"{moment} {NOBODY}")
        for moment in [
            *("0000-01-01T00:00:00+00:00", "0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00+23:59"),
            *("9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59.999999-23:59", "294277-01-01T00:00:00+00:00"),
            *("2026-01-01T00:00:00", "2026-01-01", "2026-13-45T00:00:00+00:00", "now", "infinity", "-infinity", "NaN"),
            *(
                "2026-01-01T00:00:00+00:00\x00",
                "20260101T000000Z",
                "2026-W01-1T00:00:00Z",
                "2026-01-01T00:00:00+00:00:00.1",
            ),
        ]
    ),
    *(
        cursor(f"2026-01-01T00:00:00+00:00 {one}")
        for one in ["", "x", "0", NOBODY[:-1], NOBODY + "\x00", "{" + NOBODY + "}"]
    ),
]
HEADERS = [
    *(
        (b"accept", b"\xff\xfe"),
        (b"accept", b"text/html;q=nan"),
        (b"accept", b"text/html;q=" + b"9" * 400),
        (b"accept", b"," * 5000),
    ),
    *(
        (b"accept", b"text/html;q=\xb2"),
        (b"accept", b";;q=;"),
        (b"x-request-id", b"\xff" * 300),
        (b"traceparent", b"00-zz-\xff-01"),
    ),
    *(
        (b"authorization", b"Bearer \xff\xfe"),
        (b"authorization", b"Bearer"),
        (b"authorization", b"bearer   "),
        (b"authorization", b"Basic YTpi"),
    ),
    *(
        (b"authorization", b"Bearer ssk_\xed\xa0\x80"),
        (b"authorization", b"Bearer " + b"a" * 60_000),
        (b"authorization", b"Bearer a.b.c"),
    ),
    *(
        (b"authorization", b"Bearer ssk_\x00"),
        (b"cookie", b"\xff=\xff; \x00"),
        (b"idempotency-key", b"\xff" * 300),
        (b"host", b"\xff\xfe"),
    ),
    *(
        (b"host", b"evil.example/\\@x"),
        (b"content-length", b"5"),
        (b"content-encoding", b"gzip"),
        (b"range", b"bytes=-1"),
        (b"expect", b"x"),
    ),
    *(
        (b"x-forwarded-for", b"\xff, 1.2.3.4"),
        (b"x-http-method-override", b"DELETE"),
        (b"if-none-match", b"\xff"),
        (b"origin", b"null"),
    ),
]


@dataclass(frozen=True)
class Heard:
    """An answer, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body, parse_constant=not_json)


def not_json(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def send(
    service: TestClient, method: str, target: bytes | str, body: bytes = b"", *headers: tuple[bytes, bytes]
) -> Heard:
    """As uvicorn hands it to the service: the target as it is, headers in whatever bytes, the body in two pieces."""
    raw = target if isinstance(target, bytes) else target.encode()
    path, _, query = raw.partition(b"?")
    pieces = [
        {"type": "http.request", "body": body[: len(body) // 2], "more_body": True},
        {"type": "http.request", "body": body[len(body) // 2 :], "more_body": False},
    ]
    said: list[Any] = []

    async def receive() -> Any:
        return pieces.pop(0) if pieces else {"type": "http.disconnect"}

    async def note(message: Any) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
        "method": method,
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "headers": [(b"host", b"testserver"), *headers],
        "client": ("127.0.0.1", 5000),
        "server": ("test", 80),
        "state": {},
    }
    assert service.portal is not None
    with suppress(Exception):  # Starlette raises what it has answered with a 500
        service.portal.call(service.app, scope, receive, note)
    heads = {name.decode().lower(): value.decode("latin-1") for name, value in said[0]["headers"]}
    return Heard(said[0]["status"], heads, b"".join(message.get("body", b"") for message in said[1:]))
