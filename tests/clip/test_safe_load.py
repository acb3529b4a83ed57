"""What torch.save wrote is read as torch reads it; what is hostile is refused before it costs much."""

import argparse
import collections
import io
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ubt.clip import safe_load, torch_file
from ubt.core.errors import BadInput


def records(value, **how) -> dict[str, bytes]:
    """The records of what torch.save writes, by name."""
    torch.save(value, out := io.BytesIO(), **how)
    with zipfile.ZipFile(out) as archive:
        return {r.filename: archive.read(r) for r in archive.infolist()}


def written(path, named, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in named:
            archive.writestr(name, content)
    return path


def pickled(path, content: bytes):
    """A file of torch.save with another pickle."""
    base = records({"a": torch.arange(3.0)})
    return written(path, [(n, content if n.endswith("data.pkl") else c) for n, c in base.items()])


def refusal(path) -> str:
    with pytest.raises(BadInput) as refused:
        safe_load.state_dict(path)
    said = str(refused.value)
    assert len(said) < 700
    return said


WEIGHTS = {
    "visual.proj": torch.randn(4, 3),
    "transposed": torch.randn(3, 5).T,
    "part": torch.randn(6, 6)[1:3, ::2].clone(),
    "half": torch.randn(7).half(),
    "bf16": torch.randn(7).bfloat16(),
    "double": torch.randn(2, 2).double(),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 4),
    "parameter": torch.nn.Parameter(torch.randn(3)),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("layout", ["plain", "checkpoint", "ordered"])
@pytest.mark.parametrize("name", ["own.pt", "code.pt"])
def test_tensors_are_those_that_torch_reads(protocol, layout, name, tmp_path):
    """`torch.save` calls the archive's folder after the file."""
    made = collections.OrderedDict(WEIGHTS) if layout == "ordered" else WEIGHTS
    made = {"epoch": 3, "state_dict": made} if layout == "checkpoint" else made
    torch.save(made, path := tmp_path / name, pickle_protocol=protocol)
    theirs = torch.load(path, weights_only=False)
    ours, about = safe_load.state_dict(path)
    assert about["layout"] == ("a training checkpoint" if layout == "checkpoint" else "a state dict")
    assert list(ours) == list(WEIGHTS)
    for name, tensor in (theirs["state_dict"] if layout == "checkpoint" else theirs).items():
        assert ours[name].dtype == tensor.dtype
        assert ours[name].stride() == tensor.stride()
        assert torch.equal(ours[name], tensor)


BESIDE = {
    "a learning rate of numpy": {"param_groups": [{"lr": np.float64(1e-5), "step": np.int64(3), "on": np.bool_(True)}]},
    "arrays of numpy": {"rng": np.random.RandomState(0).get_state(), "history": np.arange(6.0).reshape(2, 3)},
    "arguments": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("a/b")),
    "a path": pathlib.Path("a/b"),
    "sets and defaults": {"s": {1, 2}, "f": frozenset("ab"), "d": collections.defaultdict(list, a=[1])},
    "an optimiser": torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], lr=np.float64(1.0)).state_dict(),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", BESIDE)
def test_what_an_optimiser_or_a_log_keeps_beside_weights_is_passed_over(name, protocol, tmp_path):
    made = {"state_dict": WEIGHTS, "optimizer": BESIDE[name], "best": np.float32(0.5)}
    torch.save(made, path := tmp_path / "own.pt", pickle_protocol=protocol)
    ours, _ = safe_load.state_dict(path)
    assert torch.equal(ours["visual.proj"], WEIGHTS["visual.proj"])
    assert "got a scalar under 'lr'" in refusal_of({"lr": np.float64(1.0)}, tmp_path)


def refusal_of(value, tmp_path) -> str:
    torch.save(value, path := tmp_path / "refused.pt")
    return refusal(path)


class Runs:
    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


@pytest.mark.parametrize(
    "hidden", [Runs(eval, "1"), Runs(bytearray, 10**10), Runs(getattr, "a", "b"), Runs(np.load, "a"), object]
)
def test_code_beside_harmless_things_is_still_refused(hidden, tmp_path):
    assert "could run code" in refusal_of({"state_dict": WEIGHTS, "lr": np.float64(1), "x": [{"y": hidden}]}, tmp_path)


def scripted(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(path := tmp_path / "jit.pt")
    return path


def test_torchscript_is_called_what_it_is(tmp_path):
    assert "TorchScript archive" in refusal(scripted(tmp_path))
    with zipfile.ZipFile(tmp_path / "jit.pt") as archive:
        own = [(r.filename, archive.read(r)) for r in archive.infolist()]
    for named in (
        [(n.replace("code/", "CODE/"), c) for n, c in own],
        [(n, c) for n, c in own if "code/" not in n],
        [*own, ("jit/data/9", b"\0" * 10**6)],
    ):
        assert "TorchScript archive" in refusal(written(tmp_path / "own.pt", named, zipfile.ZIP_DEFLATED))


def test_a_compressed_file_is_no_bomb_unless_it_grows(tmp_path):
    random = records({"a": torch.randn(5000)})
    with zipfile.ZipFile(tmp_path / "one.pt", "w") as archive:
        for name, content in random.items():
            archive.writestr(name, content, zipfile.ZIP_DEFLATED if name.endswith("data.pkl") else None)
        archive.writestr("archive/pad", bytes(4000))
    assert "got compressed ones" in refusal(tmp_path / "one.pt")
    assert "a zip bomb?" in refusal(written(tmp_path / "o.pt", [("a/data/0", bytes(10**6))], zipfile.ZIP_DEFLATED))
    assert "one record data.pkl" in refusal(written(tmp_path / "o.pt", [("word/document.xml", b"x")]))


TWICE = {
    "a pickle in capitals": "archive/DATA.PKL",
    "numbers in capitals": "archive/DATA/0",
    "the very name": "archive/data/0",
    "a folder in capitals": "ARCHIVE/data.pkl",
    "letters that fold": "archive/\u017fame",  # a long s, which is folded to s
}


@pytest.mark.parametrize("name", TWICE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_record_occurs_once_whatever_its_case(name, tmp_path):
    base = [(f"archive/{n.split('/', 1)[1]}", c) for n, c in records({"a": torch.arange(3.0)}).items()]
    base += [("archive/same", b"")]
    for named in ([*base, (TWICE[name], b"x")], [(TWICE[name], b"x"), *base]):
        assert "expected every record once" in refusal(written(tmp_path / "own.pt", named))


def test_a_record_that_is_called_otherwise_in_the_directory_is_refused(tmp_path):
    torch.save({"a": torch.arange(3.0)}, path := tmp_path / "own.pt")
    data = path.read_bytes()
    first = data.index(b"data/0")
    path.write_bytes(data[:first] + b"data/1" + data[first + 6 :])
    assert "damaged" in refusal(path)


COSTLY = {
    "memo references": b"\x80\x02]q\x00(" + b"h\x00" * 5_000_000 + b"e.",
    "marks": b"\x80\x02" + b"(" * 1_000_000 + b".",
    "a key that takes an age to hash": b"\x80\x02}K\x01" + b"K\x01\x86q\x01h\x01\x86" * 40 + b"K\x02s.",
    "a key that takes an age to compare": b"\x80\x02}" + b"X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"K\x02s.",
    "a number that takes an age to hash": b"\x80\x02}\x8b" + struct.pack("<i", 10**5) + b"\1" * 10**5 + b"K\x02s.",
    "a number in words": b"\x80\x02I" + b"9" * 100_000 + b"\n.",
    "a memo as large as the machine": b"\x80\x02Nr\xff\xff\xff\xff.",
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 10**15) + b".",
    "nothing at all": b"\x80\x02.",
    "no end": b"\x80\x02}",
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_costly_pickle_is_refused(name, tmp_path):
    assert "expected" in refusal(pickled(tmp_path / "own.pt", COSTLY[name]))


def test_pickle_directory_and_number_of_tensors_are_bounded(tmp_path, monkeypatch):
    many = {str(n): torch.zeros(0) for n in range(200)}
    torch.save(many, tmp_path / "own.pt")
    save_file(many, tmp_path / "own.safetensors")
    assert len(safe_load.state_dict(tmp_path / "own.pt")[0]) == 200
    for limit, value, says in (
        ("PICKLE_BYTES", 1000, "bytes that describe the tensors"),
        ("OPCODES", 1000, "more than 1,000 steps"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(torch_file, limit, value)
            assert says in refusal(tmp_path / "own.pt")
    with monkeypatch.context() as patch:
        patch.setattr(safe_load, "MOST_TENSORS", 199)
        for ending in ("pt", "safetensors"):
            assert "at most 199 tensors, got 200" in refusal(tmp_path / f"own.{ending}")
    comment = b"x" * 60_000
    with zipfile.ZipFile(tmp_path / "wide.pt", "w") as archive:
        for n in range(40):
            (info := zipfile.ZipInfo(f"a/data/{n}")).comment = comment
            archive.writestr(info, b"")
    assert "its directory asks for 2,4" in refusal(tmp_path / "wide.pt")
    header = b"{" + b" " * safe_load.HEADER_LIMIT + b"}"
    (tmp_path / "own.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert "header claims" in refusal(tmp_path / "own.safetensors")


def test_tensors_have_numbers_of_their_own(tmp_path):
    shared = torch.randn(1000)
    for value in (
        {f"{n}": shared for n in range(100)},
        {f"{n}": shared[n:] for n in range(3)},
        {"a": shared, "b": shared.view(10, 100)},
    ):
        assert "numbers of their own" in refusal_of(value, tmp_path)
    assert "expanded" in refusal_of({"a": torch.ones(1).expand(10**9)}, tmp_path)


def storage(key: bytes, kind: bytes = b"FloatStorage", count: bytes = b"K\x03") -> bytes:
    named = b"X" + struct.pack("<I", len(key)) + key
    return b"(X\x07\x00\x00\x00storagectorch\n" + kind + b"\n" + named + b"X\x03\x00\x00\x00cpu" + count + b"tQ"


def tensor(storage: bytes, offset: bytes = b"K\x00", size: bytes = b"K\x03\x85", stride: bytes = b"K\x01\x85") -> bytes:
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + size + stride + b"\x89}tR"


def named_a(*values: bytes) -> bytes:
    return b"\x80\x02}(" + b"".join(b"X\x01\x00\x00\x00" + b"abcd"[i : i + 1] + v for i, v in enumerate(values)) + b"u."


SHAPES = {
    "plain": (named_a(tensor(storage(b"0"))), ""),
    "past its end": (named_a(tensor(storage(b"0"), offset=b"K\x01")), "does not fit in its 3 numbers"),
    "a negative offset": (named_a(tensor(storage(b"0"), offset=b"J\xff\xff\xff\xff")), "that torch.save does not"),
    "a negative stride": (named_a(tensor(storage(b"0"), stride=b"J\xff\xff\xff\xff\x85")), "that torch.save does not"),
    "true for a size": (named_a(tensor(storage(b"0"), size=b"\x88\x85")), "that torch.save does not"),
    "more sizes than strides": (named_a(tensor(storage(b"0"), size=b"K\x01K\x03\x86")), "do not fit each other"),
    "no storage": (named_a(tensor(b"N")), "that torch.save does not"),
    "a record that is not there": (named_a(tensor(storage(b"../../etc/passwd"))), "got none"),
    "another type": (named_a(tensor(storage(b"0", b"DoubleStorage"))), "24 bytes of numbers are described"),
    "two types at once": (
        named_a(tensor(storage(b"0")), tensor(storage(b"0", b"IntStorage"))),
        "the same numbers in two ways",
    ),
    "an unknown type": (named_a(tensor(storage(b"0", b"QInt8Storage"))), "could run code"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_tensors_lie_inside_their_records(name, tmp_path):
    content, says = SHAPES[name]
    path = pickled(tmp_path / "own.pt", content)
    if says:
        assert says in refusal(path)
    else:
        assert torch.equal(safe_load.state_dict(path)[0]["a"], torch.arange(3.0))


def test_a_damaged_record_and_foreign_byte_order_are_noticed(tmp_path):
    base = records({"a": torch.arange(3.0)})
    named = [(n, b"big" if n.endswith("byteorder") else c) for n, c in base.items()]
    assert "little-endian" in refusal(written(tmp_path / "own.pt", named))
    path = written(tmp_path / "own.pt", base.items())
    data = path.read_bytes()
    at = data.index(struct.pack("<3f", 0, 1, 2))
    path.write_bytes(data[: at + 4] + b"\xff" + data[at + 5 :])
    assert "damaged" in refusal(path)


def test_names_under_a_prefix_of_their_training_are_found(tmp_path):
    own = {"visual.proj": torch.ones(2), "token_embedding.weight": torch.zeros(3)}
    for prefix in ("module.", "_orig_mod.module.", "model.", "clip.", "module.student.clip."):
        torch.save({"state_dict": {f"{prefix}{n}": t for n, t in own.items()}}, path := tmp_path / "own.pt")
        assert list(safe_load.state_dict(path)[0]) == list(own)
    torch.save({f"model.{n}": t for n, t in own.items()} | {"loss.w": torch.ones(1)}, path)
    assert "model.visual.proj" in safe_load.state_dict(path)[0]


def test_random_damage_is_a_refusal_or_the_same_weights(tmp_path):
    """Bytes flipped anywhere in a small file: never another error, never other numbers in silence."""
    torch.save({"a": torch.arange(3.0), "b": torch.ones(2, 2)}, path := tmp_path / "own.pt")
    whole, said = path.read_bytes(), 0
    for at in np.random.default_rng(0).choice(len(whole), 100, replace=False):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            found, _ = safe_load.state_dict(path)
        except BadInput:
            said += 1
        else:
            assert torch.equal(found["a"], torch.arange(3.0))
    assert said > 15


def test_a_pickle_of_python_is_followed_as_python_does(tmp_path):
    plain = {"a": [1, -2, 2**40, 1.5, None, True, "é", b"x", (), (1,), (1, 2, 3, 4)], 3: {"b": {}}, None: [[]]}
    for protocol in range(5):
        path = pickled(tmp_path / "own.pt", pickle.dumps(plain, protocol))
        with torch_file.TorchFile(path) as file:
            if protocol < 3:  # bytes are made by a function there
                assert file.value["a"].pop(7) == torch_file.Unread("encode")
                file.value["a"].insert(7, b"x")
            assert file.value == plain
