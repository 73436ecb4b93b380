"""Valid files with something wrong in them: one mutation of each format, drawn from a `Random`.

Hypothesis drives them with a `Random` that it can shrink, the fuzzer with one of its own seeds. A file that is damaged
so far that its format cannot be read any more is changed byte by byte.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random

Mutation = Callable[[bytes, Random], bytes]

TEXTS = (
    *(
        "",
        " ",
        "\x00",
        "\n",
        "\x1b]0;x\x07\x1b[2J",
        "\u202eabc",
        "half \ud83d",
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\x",
    ),
    *("A", "(B)", "The answer is (C).", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "{{7*7}}", "${x}", "%s%n"),
    *("nan", "1e400", "-1", "0x10", "é" * 300, "x" * 3000, "null", "true", "image.png", "train", "test", "grade7"),
)
NUMBERS = (0, 1, -1, 2, 4, 7, 255, 2**31, 2**53, 2**63, -(2**63) - 1, 10**30, 10**400)
NUMBERS += (0.0, -0.0, 0.5, 1.5, 1e-320, 1e308, float("nan"), float("inf"), float("-inf"))


def any_value(rng: Random, depth: int = 2) -> object:
    """Something that JSON can hold."""
    kind = rng.randrange(8 if depth else 5)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind in (1, 2):
        return rng.choice(TEXTS)
    if kind in (3, 4):
        return rng.choice(NUMBERS)
    if kind == 5:
        return [any_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(TEXTS): any_value(rng, depth - 1) for _ in range(rng.randrange(4))}


def changed(value: object, rng: Random) -> object:
    """A JSON value with one place of it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        what = rng.randrange(8)
        if what == 0:
            return {k: v for k, v in value.items() if k != key}
        if what == 1:
            return {(rng.choice(TEXTS) if k == key else k): v for k, v in value.items()}
        return {k: changed(v, rng) if k == key else v for k, v in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        what = rng.randrange(5)
        if what == 0:
            return value[:at] + value[at + 1 :]
        if what == 1:
            return value[: at + 1] + value[at:]
        return [*value[:at], changed(value[at], rng), *value[at + 1 :]]
    return any_value(rng)


def of_bytes(data: bytes, rng: Random) -> bytes:
    """Some bytes replaced, removed, repeated or put in."""
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 4, 40)))
        new = (
            bytes([rng.randrange(256)]),
            b"",
            data[at:end] * 2,
            struct.pack("<Q", rng.choice((0, 2**31 - 1, 2**32, 2**63))),
            rng.choice(TEXTS).encode("utf-8", "surrogatepass"),
            b"[" * 3000,
        )
        data = data[:at] + rng.choice(new) + data[end:]
    return data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data


def of_json(data: bytes, rng: Random) -> bytes:
    """A place changed, or a key written twice."""
    value = changed(json.loads(data), rng)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.8)
    if rng.random() < 0.1 and text[:2] == '{"':
        text = text[:-1] + ", " + text[1:]
    return (b"\xef\xbb\xbf" if rng.random() < 0.05 else b"") + text.encode("utf-8", "surrogatepass")


def of_json_lines(data: bytes, rng: Random) -> bytes:
    """A line changed."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    return b"\n".join([*lines[:at], of_json(lines[at] or b"{}", rng), *lines[at + 1 :]])


def of_yaml(data: bytes, rng: Random) -> bytes:
    """A value changed, or a line of YAML's less known forms put in."""
    odd = ("a: &a [1]", "epochs: *a", "seed: 1:2:3", "seed: 0x" + "f" * 4000, "seed: " + "9" * 5000, "limit: .nan")
    odd += ("split: 2001-99-99", "split: 2001-01-01", "split: !!binary aGk=", "split: !!set {a}", "<<: {seed: 3}")
    odd += ("split: !!python/object/apply:os.system [ls]", "? [a]\n: 1", "---", "seed: 1\nseed: 2", "split: =", "\t")
    odd += ("learning_rate: 1e-3", "learning_rate: 1_0", "data_dir: [" + "[" * 500, "llm: " + "{a: " * 500, "%YAML 9.9")
    lines = data.decode("utf-8").split("\n")
    at = rng.randrange(len(lines))
    name, colon, _ = lines[at].partition(":")
    put = rng.choice(odd) if rng.random() < 0.5 else f"{name}{colon} {json.dumps(any_value(rng))}"
    return "\n".join([*lines[:at], put, *lines[at + rng.randrange(2) :]]).encode("utf-8", "surrogatepass")


def of_safetensors(data: bytes, rng: Random) -> bytes:
    """The header changed and its length put right, or the numbers changed."""
    size = struct.unpack("<Q", data[:8])[0]
    header, numbers = json.loads(data[8 : 8 + size]), data[8 + size :]
    if rng.random() < 0.3:
        at = rng.randrange(len(numbers)) // 4 * 4
        numbers = numbers[:at] + struct.pack("<f", rng.choice((float("nan"), float("inf"), 1e38))) + numbers[at + 4 :]
    else:
        header = changed(header, rng)
        for about in header.values() if isinstance(header, dict) else ():
            if isinstance(about, dict) and "dtype" in about and rng.random() < 0.2:
                about["dtype"] = rng.choice(("F16", "BF16", "F64", "I64", "U8", "BOOL", "C64", "F8_E4M3"))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def of_torch_file(data: bytes, rng: Random) -> bytes:
    """The pickle of its archive changed, or another part of it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as archive:
        parts = {name: source.read(name) for name in source.namelist()}
        pickled = [name for name in parts if name.endswith("data.pkl")]
        chosen = rng.choice(pickled if pickled and rng.random() < 0.8 else list(parts))
        parts[chosen] = of_bytes(parts[chosen], rng)
        if rng.random() < 0.1:
            del parts[rng.choice(list(parts))]
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def of_png(data: bytes, rng: Random) -> bytes:
    """A chunk changed, its checksum and the compression of its pixels put right."""
    chunks, at = [], 8
    while at < len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        chunks.append([data[at + 4 : at + 8], data[at + 8 : at + 8 + size]])
        at += size + 12
    chunk = rng.choice(chunks)
    what = rng.randrange(5)
    if what == 0 and chunk[0] == b"IHDR":
        sides = (0, 1, 2, 7, 65, 300, 4096, 2**31 - 1)
        chunk[1] = struct.pack(">II", rng.choice(sides), rng.choice(sides)) + chunk[1][8:]
    elif what == 1 and chunk[0] == b"IDAT":
        chunk[1] = zlib.compress(of_bytes(zlib.decompress(chunk[1]), rng))
    elif what == 2:
        kinds = (
            b"PLTE",
            b"tRNS",
            b"iCCP",
            b"zTXt",
            b"iTXt",
            b"eXIf",
            b"acTL",
            b"fcTL",
            b"fdAT",
            b"gAMA",
            b"IDAT",
            b"pHYs",
        )
        bomb = b"x\x00\x00" + zlib.compress(b"\x00" * rng.choice((10, 10**4, 10**7)), 1)
        chunks.insert(rng.randrange(len(chunks)), [rng.choice(kinds), rng.choice((b"", chunk[1], bomb))])
    else:
        chunk[1] = of_bytes(chunk[1], rng)
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return data[:8] + b"".join(parts)


def of_image(data: bytes, rng: Random) -> bytes:
    """PNG by its chunks, other formats by their bytes."""
    return of_png(data, rng) if data[:4] == b"\x89PNG" and rng.random() < 0.7 else of_bytes(data, rng)


def of_parquet(data: bytes, rng: Random) -> bytes:
    """A whole table with a column of another type, of other values, twice or missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data), use_threads=False)
    at = rng.randrange(table.num_columns)
    name, column = table.column_names[at], table.column(at)
    values = column.to_pylist()
    what = rng.randrange(6)
    if what == 0:
        table = table.remove_column(at)
    elif what == 1:
        table = table.append_column(rng.choice((name, "extra")), column)
    elif what == 2:
        table = table.slice(rng.randrange(table.num_rows + 1))
    elif what == 3 and values:
        row = rng.randrange(len(values))
        values[row] = changed(values[row], rng)
        table = table.set_column(at, name, _array(values))
    else:
        kinds = (
            pa.int8(),
            pa.uint64(),
            pa.float16(),
            pa.float64(),
            pa.bool_(),
            pa.string(),
            pa.large_string(),
            pa.binary(),
        )
        kinds += (pa.null(), pa.timestamp("ns", "Mars/Base"), pa.date32(), pa.decimal128(9, 2), pa.list_(pa.string()))
        kinds += (pa.dictionary(pa.int32(), pa.string()), pa.struct([("bytes", pa.string())]), pa.duration("s"))
        kind = rng.choice(kinds)
        fill = rng.choice(({}, b"\xff", "x", 1, None, 1.5, float("nan"), True, ["A"], "0"))
        try:
            table = table.set_column(at, name, pa.array([fill] * table.num_rows, kind))
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):
            table = table.set_column(at, name, pa.nulls(table.num_rows, kind))
    out = io.BytesIO()
    pq.write_table(
        table, out, compression=rng.choice(("none", "snappy", "zstd")), row_group_size=rng.choice((1, 3, 1000))
    )
    return out.getvalue()


def _array(values: list) -> object:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array([repr(value) for value in values])


def mutated(data: bytes, structure: Mutation, rng: Random) -> bytes:
    """One mutation or several: of the format, or of the bytes where the format is gone or chance says so."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if rng.random() < 0.8:
            try:
                data = structure(data, rng)
                continue
            except Exception:  # the format cannot be read any more
                pass
        data = of_bytes(data, rng)
    return data


def of_seed(data: bytes, structure: Mutation, seed: int) -> bytes:
    """As `mutated`, from a number."""
    return mutated(data, structure, random.Random(seed))
