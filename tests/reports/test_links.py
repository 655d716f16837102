"""A run folder is untrusted: a report is never written through a link."""

from __future__ import annotations

import pytest

from nnw_onnx.errors import RunError
from nnw_onnx.reports import documents


@pytest.mark.parametrize("name", ["figures", "tables"])
def test_nothing_is_written_through_a_link(report, tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="expected a folder of the run, got a link"):
        documents.write_documents(report, tmp_path / "run")
    assert list((tmp_path / "elsewhere").iterdir()) == []
