"""A scan of an ONNX graph before ONNX Runtime loads it, without the onnx package.

The graph of an export is straight-line code over its own weights. A graph from elsewhere may loop
for ever, call functions, use operators of custom libraries, or name files to load as weights; ONNX
Runtime would do all of that. The scan walks the protobuf's wire format (field numbers are those of
onnx.proto3, which never change) and rejects it. As in protobuf, fields may be repeated and come in
any order, and unknown ones are ignored.
"""

from collections.abc import Iterator
from typing import NamedTuple

from kdpipe.errors import KdpipeError
from kdpipe.text import escape

ALLOWED_DOMAINS = ("", "ai.onnx")
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types; groups (3 and 4) are in no ONNX file
EXTERNAL = 1  # TensorProto.DataLocation


class _Field(NamedTuple):
    """One field of a message: an integer, or the span of its bytes in the file."""

    number: int
    wire_type: int
    value: int
    start: int
    end: int


def check_graph(graph: bytes) -> None:
    """Raise KdpipeError for a graph that an export never has.

    Parameters
    ----------
    graph : bytes
        The serialized ModelProto.

    Raises
    ------
    KdpipeError
        For control flow, functions, operators outside the domain of ONNX, external data, sparse
        tensors, or bytes that are not a protobuf message.
    """
    n_graphs = 0
    for field in _iterate_fields(graph, 0, len(graph)):
        if field.number == 7 and field.wire_type == BYTES:
            n_graphs += 1
            _check_graph_proto(graph, field)
        elif field.number == 20 and field.wire_type == BYTES:
            raise KdpipeError("it has training information")
        elif field.number == 25 and field.wire_type == BYTES:
            raise KdpipeError("it defines functions")
    if n_graphs != 1:
        raise KdpipeError("it is not an ONNX graph")


def _check_graph_proto(data: bytes, graph: _Field) -> None:
    """Check the nodes and initializers of a GraphProto."""
    for field in _iterate_fields(data, graph.start, graph.end):
        if field.wire_type != BYTES:
            continue
        if field.number == 1:
            _check_node(data, field)
        elif field.number == 5:
            _check_tensor(data, field)
        elif field.number == 15:
            raise KdpipeError("it has sparse tensors")


def _check_node(data: bytes, node: _Field) -> None:
    """Check the operator and the attributes of a NodeProto."""
    operator = "a node"
    for field in _iterate_fields(data, node.start, node.end):
        if field.wire_type != BYTES:
            continue
        if field.number == 4:
            operator = escape(_decode(data, field))[:40]
        elif field.number == 7 and (domain := _decode(data, field)) not in ALLOWED_DOMAINS:
            raise KdpipeError(
                f"it has an operator of the domain {escape(domain)[:40]}, not of standard ONNX"
            )
        elif field.number == 5:
            _check_attribute(data, field, operator)


def _check_attribute(data: bytes, attribute: _Field, operator: str) -> None:
    """Check the tensors of an AttributeProto; reject graphs, as control flow has them."""
    for field in _iterate_fields(data, attribute.start, attribute.end):
        if field.wire_type != BYTES:
            continue
        if field.number in (6, 11):
            raise KdpipeError(f"it has control flow ({operator})")
        if field.number in (22, 23):
            raise KdpipeError("it has sparse tensors")
        if field.number in (5, 10):
            _check_tensor(data, field)


def _check_tensor(data: bytes, tensor: _Field) -> None:
    """Reject a TensorProto whose data are in another file."""
    for field in _iterate_fields(data, tensor.start, tensor.end):
        if field.number == 13 or (field.number == 14 and field.value == EXTERNAL):
            raise KdpipeError("its weights are in another file (external data)")


def _decode(data: bytes, field: _Field) -> str:
    """Return the text of a field."""
    return data[field.start : field.end].decode("utf-8", "backslashreplace")


def _iterate_fields(data: bytes, start: int, end: int) -> Iterator[_Field]:
    """Yield the fields of the message in data[start:end]; raise KdpipeError if it is malformed."""
    position = start
    while position < end:
        tag, position = _read_varint(data, position, end)
        number, wire_type = tag >> 3, tag & 7
        value = 0
        first = position
        if wire_type == VARINT:
            value, position = _read_varint(data, position, end)
        elif wire_type == BYTES:
            length, first = _read_varint(data, position, end)
            position = first + length
        elif wire_type in (FIXED32, FIXED64):
            position += 4 if wire_type == FIXED32 else 8
        else:
            position = end + 1
        if position > end or number == 0:
            raise KdpipeError("it is not an ONNX graph")
        yield _Field(number, wire_type, value, first, position)


def _read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Return a variable-length integer and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), position
    raise KdpipeError("it is not an ONNX graph")
