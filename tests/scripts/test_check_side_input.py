"""The check of hearing against seeing, on as few scenes as it runs with."""

from __future__ import annotations

import check_side_input


def test_smallest(call, tmp_path):
    """Ten scenes teach nothing: only what is measured and written is looked at."""
    small = ["--count", "10", "--epochs", "1", "--placements", "0", "--max-seconds", "0.1", "--threads", "1"]
    called = call("check_side_input", *small, "--side", "audio=1x8x16", "--out", tmp_path / "kept")
    row = called.figures["rows"][0]
    assert row["placement"] == 0
    assert row["macs_hearing"] > row["macs_seeing"] > 0
    assert min(row["ms_hearing"], row["ms_seeing"], row["error_hearing"], row["error_seeing"]) > 0
    assert called.status == (0 if called.figures["passed"] else 1)
    assert (tmp_path / "kept" / "labels.csv").exists()


def test_wrong_options(capsys):
    assert check_side_input.main(["--epochs", "0"]) == 2
    assert "--epochs must be 1 or more" in capsys.readouterr().err
