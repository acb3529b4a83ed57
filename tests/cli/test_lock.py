"""The lock of dependencies: that it holds what `requirements.txt` wants, and how it is made."""

import platform
import re

import pytest
from packaging.requirements import Requirement

from ubt.cli.lock import LOCK, ROOT, lock, locked
from ubt.core.errors import BadInput, UbtError

LINE = re.compile(r"([A-Za-z0-9._-]+)==(\S+) --hash=sha256:[0-9a-f]{64}")
THERE = {"sys_platform": "linux", "platform_machine": "x86_64"}


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def same(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def test_every_requirement_is_in_the_lock_within_its_bounds_with_a_hash():
    found = {}
    for line in lines(LOCK.read_text()):
        matched = LINE.fullmatch(line)
        assert matched, line
        assert same(matched[1]) not in found, line
        found[same(matched[1])] = matched[2]
    wanted = [Requirement(line) for line in lines((ROOT / "requirements.txt").read_text())]
    here = [r for r in wanted if r.marker is None or r.marker.evaluate(THERE)]
    assert {r.name for r in wanted} - {r.name for r in here} == {"faiss-cpu"}
    assert not [str(r) for r in here if not r.specifier.contains(found.get(same(r.name), "0"))]
    assert len(found) > len(here)


def installed(name: str, version: str, url: str, **hashes: str) -> dict:
    """A package in pip's report."""
    source = {"url": url, "archive_info": {"hashes": hashes}}
    return {"metadata": {"name": name, "version": version}, "download_info": source}


def test_a_lock_has_versions_and_digests_and_no_addresses():
    report = {
        "install": [
            installed("torch", "2.0", "file:///secret/place/torch-2.0-cp311.whl", sha256="b" * 64),
            installed("PyYAML", "6.0", "https://here.invalid/PyYAML-6.0-cp311.whl", sha256="a" * 64),
        ]
    }
    assert locked(report) == [f"PyYAML==6.0 --hash=sha256:{'a' * 64}", f"torch==2.0 --hash=sha256:{'b' * 64}"]


@pytest.mark.parametrize(
    "package",
    [
        installed("a", "1", "https://here.invalid/a-1.whl"),
        installed("a", "1", "https://here.invalid/a-1.tar.gz", sha256="a" * 64),
    ],
)
def test_what_has_no_digest_or_must_be_built_is_refused(package):
    with pytest.raises(UbtError, match="a==1: expected a wheel and its SHA-256, got https"):
        locked({"install": [package]})


def test_a_lock_is_made_where_it_is_for(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(BadInput, match=r"expected Linux x86_64 CPython 3.11, for which the lock is, got Linux riscv64"):
        lock(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()
