"""Push and pull against an S3-compatible server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from species import Mutate, Plant

import heredity as hd
from heredity.errors import LabError
from heredity.lab.interchange.sync import pull, push


def content(root: Path) -> dict[str, bytes]:
    """Everything in a lab that is copied."""
    kinds = ("births", "weights", "evidence", "files")
    files = (path for kind in kinds for path in (root / kind).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def s3():
    """An S3-compatible server on this machine."""
    pytest.importorskip("s3fs", reason="s3:// needs s3fs, which is not installed")
    pytest.importorskip("moto.server", reason="the S3-compatible server is moto's, which is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(endpoint, timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > end:
                    pytest.skip("moto's server did not start")
                time.sleep(0.1)
        yield {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": endpoint, "region_name": "us-east-1"}}
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.slow
def test_an_s3_bucket(lab, s3, tmp_path):
    import s3fs

    ancestor = lab.add({"w": torch.arange(4.0)}, name="ancestor")
    lab.derive(Mutate(0.5), ancestor, seed=1)
    lab.derive(Plant(torch.ones(3)))

    made = urllib.request.Request(f"{s3['client_kwargs']['endpoint_url']}/bucket", method="PUT")
    urllib.request.urlopen(made, timeout=10).close()
    url = "s3://bucket/some/lab"
    assert push(lab, url, options=s3).blobs == 4
    lab.note(lab["ancestor"], "later")
    assert (push(lab, url, options=s3).blobs, push(lab, url, options=s3).bytes) == (0, 0)
    with hd.Lab(tmp_path / "second") as second:
        second.add({"w": torch.full((2,), 7.0)})
        push(second, url, options=s3)
        assert pull(second, url, options=s3).births == 3
        pull(lab, url, options=s3)
        assert content(second.root) == content(lab.root) and len(lab) == 4
    assert not [path for path in s3fs.S3FileSystem(**s3).find("bucket") if "/." in path]
    with pytest.raises(LabError, match="cannot push s3://nosuchbucket"):
        push(lab, "s3://nosuchbucket/lab", options=s3)
