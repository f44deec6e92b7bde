"""Changes of a model's fields, and of the bytes of any file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st
from onnx import ModelProto

from tools.fuzz.blocks import Draw

NUMBERS = [0, 1, -1, 2, 3, 7, 16, 99, 127, 128, 255, 256, 2**15, 2**31 - 1, 2**31, 2**62, -(2**63)]
_TEXTS = ["", "x", "y", " ", "é", "a\0b", "\x1b[31m", "w" * 3000, "../x", "Relu", "ai.onnx", "\n"]
_FLOATS = [0.0, -0.0, 1.0, -1.0, 1e-38, 1e38, float("inf"), float("nan")]


class Site(NamedTuple):
    """A field of a message that can be changed."""

    message: Message
    field: FieldDescriptor


def sites(message: Message) -> Iterator[Site]:
    """Every field that is set, of a message and of those in it, from outside to inside."""
    for descriptor, value in message.ListFields():
        yield Site(message, descriptor)
        if descriptor.type == FieldDescriptor.TYPE_MESSAGE:
            for one in _all(descriptor, value):
                yield from sites(one)


def _all(descriptor: FieldDescriptor, value: Any) -> list[Any]:
    return list(value) if _is_repeated(descriptor) else [value]


def _is_repeated(descriptor: FieldDescriptor) -> bool:
    return bool(descriptor.is_repeated)


def _other_number(draw: Draw, site: Site, old: int) -> int:
    near = st.sampled_from([-1, 1]).map(lambda step: old + step)
    value: int = draw(st.one_of(near, st.sampled_from(NUMBERS), st.integers(-5, 40)))
    low, high = (-(2**31), 2**31 - 1) if site.field.cpp_type == _INT32 else (-(2**63), 2**63 - 1)
    if site.field.cpp_type in (FieldDescriptor.CPPTYPE_UINT64, FieldDescriptor.CPPTYPE_UINT32):
        low, high = 0, 2**32 - 1
    return min(max(value, low), high)


_INT32 = FieldDescriptor.CPPTYPE_INT32


def _other_enum(draw: Draw, site: Site, old: int) -> int:
    values = [value.number for value in site.field.enum_type.values]
    return int(draw(st.sampled_from(values)))


def _other_text(draw: Draw, site: Site, old: str) -> str:
    known = [str(getattr(site.message, site.field.name))[:9], *_TEXTS]
    text: str = draw(st.sampled_from(known))
    return text


def _other_bytes(draw: Draw, site: Site, old: bytes) -> bytes:
    return changed_bytes(draw, old)


_OTHERS: Mapping[int, Callable[[Draw, Site, Any], Any]] = {
    FieldDescriptor.CPPTYPE_INT32: _other_number,
    FieldDescriptor.CPPTYPE_INT64: _other_number,
    FieldDescriptor.CPPTYPE_UINT32: _other_number,
    FieldDescriptor.CPPTYPE_UINT64: _other_number,
    FieldDescriptor.CPPTYPE_ENUM: _other_enum,
    FieldDescriptor.CPPTYPE_FLOAT: lambda draw, site, old: draw(st.sampled_from(_FLOATS)),
    FieldDescriptor.CPPTYPE_DOUBLE: lambda draw, site, old: draw(st.sampled_from(_FLOATS)),
    FieldDescriptor.CPPTYPE_STRING: _other_text,
}
"""New values of a field, by its type."""


def _set(draw: Draw, site: Site, root: Message) -> None:
    """Another value, or for a message nothing; of a list, one element is changed."""
    message, descriptor = site
    if descriptor.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        _swap(draw, site, root)
        return
    isbytes = descriptor.type == FieldDescriptor.TYPE_BYTES
    other = _other_bytes if isbytes else _OTHERS[descriptor.cpp_type]
    value = getattr(message, descriptor.name)
    if not _is_repeated(descriptor):
        setattr(message, descriptor.name, other(draw, site, value))
        return
    place = draw(st.integers(0, len(value) - 1))
    value[place] = other(draw, site, value[place])


def _clear(draw: Draw, site: Site, root: Message) -> None:
    """No value, or one element less."""
    message, descriptor = site
    value = getattr(message, descriptor.name)
    if _is_repeated(descriptor) and len(value) > 1:
        del value[draw(st.integers(0, len(value) - 1))]
    else:
        message.ClearField(descriptor.name)


def _repeat(draw: Draw, site: Site, root: Message) -> None:
    """One element twice."""
    message, descriptor = site
    value = getattr(message, descriptor.name)
    if _is_repeated(descriptor):
        place = draw(st.integers(0, len(value) - 1))
        value.extend([value[place]])
    else:
        _set(draw, site, root)


def _swap(draw: Draw, site: Site, root: Message) -> None:
    """The value of another field of the same type, from anywhere in the model."""
    message, descriptor = site
    alike = [other for other in sites(root) if other.field == descriptor]
    other = alike[draw(st.integers(0, len(alike) - 1))]
    source, own = (getattr(part, descriptor.name) for part in (other.message, message))
    if descriptor.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE:
        if _is_repeated(descriptor):
            own[draw(st.integers(0, len(own) - 1))] = source[draw(st.integers(0, len(source) - 1))]
        else:
            setattr(message, descriptor.name, source)
        return
    if _is_repeated(descriptor):
        own, source = own[0 if len(own) == 1 else draw(st.integers(0, len(own) - 1))], source[-1]
    copy = type(source)()
    copy.CopyFrom(source)
    own.CopyFrom(copy)


_CHANGES = [_set, _set, _set, _clear, _repeat, _swap]


def changed_fields(draw: Draw, proto: ModelProto) -> tuple[ModelProto, str]:
    """A model of which one to three fields are changed, and which."""
    copy, words = ModelProto(), []
    copy.CopyFrom(proto)
    for _ in range(draw(st.integers(1, 3))):
        found = list(sites(copy))
        if not found:
            break
        site = found[draw(st.integers(0, len(found) - 1))]
        change = draw(st.sampled_from(_CHANGES))
        words.append(f"{change.__name__[1:]} {site.message.DESCRIPTOR.name}.{site.field.name}")
        change(draw, site, copy)
    return copy, ", ".join(words)


def _flip(draw: Draw, data: bytes, place: int) -> bytes:
    return data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]


def _cut(draw: Draw, data: bytes, place: int) -> bytes:
    return data[:place]


def _insert(draw: Draw, data: bytes, place: int) -> bytes:
    added: bytes = draw(
        st.sampled_from([b"\0", b"\xff", b"\xff\xff\xff\x7f", b"\0" * 16, data[:8]])
    )
    return data[:place] + added + data[place:]


def _remove(draw: Draw, data: bytes, place: int) -> bytes:
    return data[:place] + data[place + draw(st.integers(1, 8)) :]


def _move(draw: Draw, data: bytes, place: int) -> bytes:
    other = draw(st.integers(0, len(data)))
    return data[:place] + data[other : other + 32] + data[place + 32 :]


_ByteChange = Callable[[Draw, bytes, int], bytes]

_BYTE_CHANGES: list[_ByteChange] = [_flip, _flip, _flip, _cut, _insert, _remove, _move]


def changed_bytes(draw: Draw, data: bytes) -> bytes:
    """The bytes of a file with one to four changes."""
    for _ in range(draw(st.integers(1, 4))):
        # Headers are at the beginning.
        end = draw(st.sampled_from([len(data), min(len(data), 64)]))
        change: _ByteChange = draw(st.sampled_from(_BYTE_CHANGES))
        data = change(draw, data, draw(st.integers(0, end)))
    return data


def damaged(draw: Draw, proto: ModelProto, way: str) -> tuple[bytes, str]:
    """The content of a model's file: "valid", or with changed "fields" or "bytes"; and words."""
    if way == "fields":
        proto, words = changed_fields(draw, proto)
        return proto.SerializeToString(), words
    content = proto.SerializeToString()
    return (content, way) if way == "valid" else (changed_bytes(draw, content), way)
