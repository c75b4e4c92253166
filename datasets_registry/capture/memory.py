"""Loads and stores at an address plus an offset, one machine instruction each.

The kernels work on addresses and not on arrays: numba counts references to an array wherever it is handed to a
function, with two locked instructions that cost more than decoding a packet.  Bounds are not checked: the caller has
compared the offset with the end of what it may touch, and keeps the array alive.  Values, addresses and offsets are
int64 (numba makes floats of mixtures with uint64); a 64-bit value keeps its bits.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic as _intrinsic

# ruff: noqa: ARG001, ARG005 (an intrinsic's arguments are types, and its code is called with more than it needs)
intrinsic: Any = _intrinsic  # its own type has one argument more than what it makes
I64 = types.int64


def _loads(bits: int, swapped: bool) -> Any:
    """``load(base, at)`` of so many bits as an int64; ``swapped``: the most significant byte comes first in memory."""

    @intrinsic
    def load(typing: Any, base: Any, at: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.load(builder.inttoptr(builder.add(*args), ir.IntType(bits).as_pointer()), align=1)
            if swapped:
                value = builder.bswap(value)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return I64(I64, I64), code

    return load


byte = _loads(8, swapped=False)
be16, be32, be64 = (_loads(bits, swapped=True) for bits in (16, 32, 64))
le16, le32, le64 = (_loads(bits, swapped=False) for bits in (16, 32, 64))


@intrinsic
def address(typing: Any, array: Any) -> Any:
    """Of the first element of a contiguous array."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(
            cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0]).data, ir.IntType(64)
        )

    return I64(array), code


@intrinsic
def word(typing: Any, base: Any, index: Any) -> Any:
    """Element ``index`` of the 64-bit words at ``base``."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.gep(builder.inttoptr(args[0], ir.IntType(64).as_pointer()), [args[1]]))

    return I64(I64, I64), code


@intrinsic
def put(typing: Any, base: Any, index: Any, value: Any) -> Any:
    """Make ``value`` element ``index`` of the 64-bit words at ``base``."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], builder.gep(builder.inttoptr(args[0], ir.IntType(64).as_pointer()), [args[1]]))
        return context.get_dummy_value()

    return types.void(I64, I64, I64), code


@intrinsic
def put_float(typing: Any, base: Any, index: Any, value: Any) -> Any:
    """Make ``value`` element ``index`` of the float32 at ``base``."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], builder.gep(builder.inttoptr(args[0], ir.FloatType().as_pointer()), [args[1]]))
        return context.get_dummy_value()

    return types.void(I64, I64, types.float32), code


@intrinsic
def bits_of(typing: Any, value: Any) -> Any:
    """The float64's bits as an int64."""
    return I64(types.float64), lambda context, builder, signature, args: builder.bitcast(args[0], ir.IntType(64))


@intrinsic
def float_of(typing: Any, bits: Any) -> Any:
    """The float64 of an int64's bits."""
    return types.float64(I64), lambda context, builder, signature, args: builder.bitcast(args[0], ir.DoubleType())
