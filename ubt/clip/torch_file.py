"""What `torch.save` wrote, read without torch's own reader and without calling anything.

The zip has one parser (zipfile) and the pickle one, here: each opcode is followed, names of classes and functions stay
names, and a tensor is a note of where its numbers lie. So what was checked is what is read. What a hostile file can
cost is bounded before it is read: bytes of the directory and of the pickle, opcodes, keys.
"""

import io
import math
import pickletools
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ubt.core.errors import BadInput

PICKLE_BYTES, DIRECTORY_BYTES, OPCODES = 16 * 2**20, 2 * 2**20, 500_000
"""Most that is read of a pickle and of a zip's directory; a checkpoint of ViT-bigG with its optimiser has 240,000
opcodes.
"""
_KEY_LENGTH = 1000

_STORAGES = {
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Double": torch.float64,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
_KNOWN = re.compile(
    r"torch (Size|device|bfloat16|bool|(float|int|uint)(8|16|32|64)|(" + "|".join(_STORAGES) + r")Storage)"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)|torch\.serialization _get_layout"
    r"|collections (OrderedDict|defaultdict)|(builtins|__builtin__) (dict|list|set|frozenset|int|float)"
    r"|numpy\.(_?core)\.multiarray (scalar|_reconstruct)|numpy (dtype|ndarray)|_codecs encode|argparse Namespace"
    r"|pathlib (Pure)?(Posix|Windows)Path"
)
"""Names that a pickle of weights may hold. None is ever looked up or called: what an optimiser or a log keeps beside
weights becomes an `Unread`.
"""
_PLAIN = set(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8"
    " UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 FLOAT BINFLOAT".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NEW: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_COUNTED = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """A class or function by `module name`; never looked up."""

    name: str


@dataclass(frozen=True)
class Unread:
    """A harmless object beside weights, of which nothing but its kind is known."""

    kind: str


@dataclass(frozen=True)
class Storage:
    """A record of numbers: its `key` in the archive, how many of which type."""

    key: str
    dtype: torch.dtype
    count: int

    @property
    def bytes(self) -> int:
        """Its size."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class Stored:
    """A tensor in the file: where its numbers lie in a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """The type of its numbers."""
        return self.storage.dtype

    @property
    def bytes(self) -> int:
        """What its numbers take."""
        return math.prod(self.shape) * self.storage.dtype.itemsize

    @property
    def inside(self) -> bool:
        """Whether all its numbers lie in its storage."""
        last = sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        return not self.bytes or self.offset + last < self.storage.count


class CallsForCode(ValueError):
    """A pickle names what could run code."""


class _Limited(io.FileIO):
    """A file of which no single read may take more than `most` bytes."""

    most = DIRECTORY_BYTES

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            at = self.tell()
            size = self.seek(0, io.SEEK_END) - at
            self.seek(at)
        if size > self.most:
            raise ValueError(f"its directory asks for {size:,} bytes at once, at most {self.most:,} are read")
        return super().read(size)


class TorchFile:
    """An archive that `torch.save` wrote, its records checked; `value` is what it holds, tensors as `Stored`.

    Raises:
        BadInput: it is a TorchScript archive, or its records are not as torch.save writes them. CallsForCode: its
            pickle names what could run code. Exception: it is damaged, in whatever way.
    """

    def __init__(self, path: Path):
        self._file = _Limited(path)
        try:
            self._archive = zipfile.ZipFile(self._file)
            self._records = {r.filename: r for r in self._archive.infolist()}
            self._file.most = path.stat().st_size
            self._root = _checked(path, self._archive.infolist()).removesuffix("data.pkl")
            order = self._records.get(f"{self._root}byteorder")
            if order is not None and (order.file_size > 16 or self._archive.read(order) != b"little"):
                raise BadInput(f"{path}: expected little-endian numbers, got others; save the weights as safetensors")
            self.value = _followed(self._archive.read(self._records[f"{self._root}data.pkl"]))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def tensors(self, wanted: dict[str, Stored]) -> dict[str, torch.Tensor]:
        """The tensors themselves, each `inside` its storage, on the CPU.

        Raises:
            ValueError: a storage is not as large as it is said to be. Exception: its record is damaged.
        """
        read: dict[str, torch.Tensor] = {}
        for tensor in wanted.values():
            s = tensor.storage
            if s.key in read:
                continue
            record = self._records.get(f"{self._root}data/{s.key}")
            if record is None or record.file_size != s.bytes:
                got = "none" if record is None else f"{record.file_size:,} bytes"
                raise ValueError(f"{s.bytes:,} bytes of numbers are described for its record {s.key[:40]!r}, got {got}")
            data = bytearray(self._archive.read(record))
            read[s.key] = torch.frombuffer(data, dtype=s.dtype) if s.count else torch.zeros(0, dtype=s.dtype)
        return {n: read[t.storage.key].as_strided(t.shape, t.stride, t.offset) for n, t in wanted.items()}


def _checked(path: Path, records: Sequence[zipfile.ZipInfo]) -> str:
    """The name of the one record data.pkl, all records being as torch.save writes them."""
    names = [r.filename.casefold() for r in records]
    if any(re.search(r"^[^/]+/(code/|constants\.pkl$)", n) for n in names):
        raise BadInput(
            f"{path}: expected weights, got a TorchScript archive, which holds code and is not opened; import"
            " OpenAI's own as ViT-B-32/openai, of others the state dict (torch.save(model.state_dict(), FILE))"
        )
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise BadInput(
            f"{path}: expected every record once, got {twice[:80]!r} twice (upper and lower case count as the same); it"
            " was not opened. Save the weights anew"
        )
    if sum(r.file_size for r in records) > path.stat().st_size:
        raise BadInput(
            f"{path}: expected records that fill the file, got more bytes than it has (a zip bomb?); it was not opened"
        )
    if any(r.compress_type != zipfile.ZIP_STORED for r in records):
        raise BadInput(
            f"{path}: expected uncompressed records, as torch.save writes them, got compressed ones; give the file that"
            " torch.save wrote, not a zip made of it"
        )
    pickles = [r for r in records if r.filename.endswith(".pkl")]
    if len(pickles) != 1 or pickles[0].filename.split("/")[-1] != "data.pkl":
        raise BadInput(
            f"{path}: expected one record data.pkl, as torch.save writes it, got {len(pickles)}; give the file that"
            " torch.save wrote"
        )
    if pickles[0].file_size > PICKLE_BYTES:
        raise BadInput(
            f"{path}: expected at most {PICKLE_BYTES:,} bytes that describe the tensors, got {pickles[0].file_size:,}"
        )
    return pickles[0].filename


def _followed(data: bytes) -> Any:
    """What a pickle says, as lists, dicts, tuples, numbers, texts, `Stored` and `Unread`."""
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count >= OPCODES:
            raise ValueError(f"it has more than {OPCODES:,} steps, which no weights need")
        machine.step(opcode.name, argument)
    return machine.stack.pop()


class _Machine:
    """A pickle's stack and memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Follow one opcode; those that are not listed name code, or nothing that weights have."""
        stack = self.stack
        if opcode in _PLAIN:
            stack.append(argument)
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in _NEW:
            stack.append(_NEW[opcode]())
        elif opcode in _COUNTED:
            stack[-_COUNTED[opcode] :] = [tuple(stack[-_COUNTED[opcode] :])]
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif opcode in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            getattr(self, f"_{opcode.lower()}", self._refuse(opcode))(argument)

    def _refuse(self, opcode: str) -> Callable[[Any], None]:
        def refuse(argument: Any) -> None:
            raise CallsForCode(f"{argument or opcode}"[:80])

        return refuse

    def _marked(self) -> list[Any]:
        """What was pushed since the last mark."""
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                items = self.stack[at + 1 :]
                del self.stack[at:]
                return items
        raise ValueError("it ends a group that was not begun")

    def _mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._marked()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _list(self, _: Any) -> None:
        self.stack.append(self._marked())

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._marked()))

    def _dict(self, _: Any) -> None:
        items = self._marked()
        self.stack.append({})
        self._set(items)

    def _append(self, _: Any) -> None:
        item = self.stack.pop()
        self._extend([item])

    def _appends(self, _: Any) -> None:
        self._extend(self._marked())

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        elif not isinstance(self.stack[-1], Unread):
            raise ValueError("it appends to what is no list")

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self, _: Any) -> None:
        self._set(self._marked())

    def _set(self, items: Sequence[Any]) -> None:
        into = self.stack[-1]
        if isinstance(into, Unread):
            return
        if not isinstance(into, dict) or len(items) % 2:
            raise ValueError("it sets entries of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not _cheap(key):
                raise ValueError(f"it has an entry named by a {type(key).__name__}, or by a very long name")
            into[key] = value

    def _global(self, argument: str) -> None:
        if not _KNOWN.fullmatch(argument):
            raise CallsForCode(argument[:80])
        self.stack.append(_Name(argument))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("it names something by what is no text")
        self._global(f"{module} {name}")

    def _binpersid(self, _: Any) -> None:
        kind, of, key, _device, count = self.stack.pop()
        dtype = _STORAGES.get(of.name.removeprefix("torch ").removesuffix("Storage"))
        if kind != "storage" or dtype is None or not isinstance(key, str) or type(count) is not int or count < 0:
            raise ValueError("it describes numbers in a way that torch.save does not")
        storage = Storage(key, dtype, count)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError("it describes the same numbers in two ways")
        self.stack.append(storage)

    def _build(self, _: Any) -> None:
        self.stack.pop()

    def _newobj(self, _: Any) -> None:
        self._reduce(None)

    def _empty_set(self, _: Any) -> None:
        self.stack.append(Unread("set"))

    def _additems(self, _: Any) -> None:
        self._marked()

    def _frozenset(self, _: Any) -> None:
        self._marked()
        self._empty_set(None)

    def _reduce(self, _: Any) -> None:
        arguments, of = self.stack.pop(), self.stack.pop()
        if not isinstance(of, _Name) or not isinstance(arguments, tuple):
            raise CallsForCode(f"a {type(of).__name__} as a function")
        self.stack.append(_made(of.name, arguments))


def _cheap(key: Any) -> bool:
    """Whether a dict finds a key at once; to hash or compare others may take as long as a file wants it to."""
    if isinstance(key, (str, bytes)):
        return len(key) <= _KEY_LENGTH
    return key is None or (isinstance(key, (int, float)) and not abs(key) >= 2**63)


def _made(name: str, arguments: tuple[Any, ...]) -> Any:
    """What torch's own helpers would make; of all others that they are there."""
    if name == "torch._utils _rebuild_tensor_v2":
        storage, offset, shape, stride = arguments[:4]
        numbers = (offset, *shape, *stride)
        if not isinstance(storage, Storage) or any(type(n) is not int or not 0 <= n < 2**62 for n in numbers):
            raise ValueError("it describes a tensor in a way that torch.save does not")
        if len(shape) != len(stride) or len(shape) > 16:
            raise ValueError("it describes a tensor whose shape and strides do not fit each other")
        return Stored(storage, offset, tuple(shape), tuple(stride))
    if name == "torch._utils _rebuild_parameter" and isinstance(arguments[0], Stored):
        return arguments[0]
    if name == "torch Size" and isinstance(arguments[0], tuple):
        return arguments[0]
    if name.startswith("collections ") and (not arguments or isinstance(arguments[0], _Name)):
        return {}
    return Unread(name.split(" ")[1])
