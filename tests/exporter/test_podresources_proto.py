"""The checked-in code is what its .proto makes."""

from __future__ import annotations

from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parents[2]


def test_the_generated_code_is_up_to_date(tmp_path: Path) -> None:
    """Regenerating gives the same bytes; if not, the .proto's head says how to write them."""
    failed = protoc.main(["protoc", f"-I{ROOT}", f"--python_out={tmp_path}", "exporter/podresources.proto"])
    assert not failed
    written = (tmp_path / "exporter/podresources_pb2.py").read_bytes()
    assert written == (ROOT / "exporter/podresources_pb2.py").read_bytes()
