"""Reports in a browser: wrong files are told before anything is opened; what it looks at is tested beside the pages."""

from __future__ import annotations

import check_report
import pytest

from exitsearch.errors import UnavailableError


def test_a_missing_file(capsys):
    assert check_report.main(["no such report.html"]) == 2
    assert "no such report.html: no such file; name reports that exitsearch wrote" in capsys.readouterr().err


def test_a_missing_browser(monkeypatch, tmp_path, capsys):
    """What is missing is named, with what to do."""
    (tmp_path / "report.html").write_text("")
    monkeypatch.setattr(check_report, "find_spec", lambda module: object())
    monkeypatch.setattr(check_report.shutil, "which", lambda name: None)
    with pytest.raises(UnavailableError, match="no Chromium is on the path; install it"):
        check_report.chromium()
    monkeypatch.setattr(check_report, "find_spec", lambda module: None)
    with pytest.raises(UnavailableError, match="pip install playwright"):
        check_report.chromium()
    assert check_report.main([str(tmp_path / "report.html")]) != 0
    assert "playwright is not installed" in capsys.readouterr().err


def test_the_examples_are_there():
    """Both reports that it makes by itself are made from what the repository holds."""
    assert check_report.VIT.is_file()
