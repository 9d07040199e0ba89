from __future__ import annotations

from pathlib import Path

from exitsearch.specs.profile import Profile
from exitsearch.specs.verdict import Verdict


def test_what_was_not_checked_is_written_only_where_there_is_something(tmp_path: Path) -> None:
    """So that old profiles keep their identity, which stands in configurations and caches."""
    plain = Verdict(status="ok")
    assert "not_checked" not in plain.model_dump(mode="json")
    blind = Verdict(status="ok", not_checked=["steal"])
    assert blind.model_dump(mode="json")["not_checked"] == ["steal"]
    assert str(blind) == "ok; not checked: steal"
    old = Profile.read(Path(__file__).parents[1] / "data" / "profile_v1.json")
    assert old.identity == "52a33aaf081e036b"
    judged = old.model_copy(update={"verdict": blind})
    assert Profile.read(judged.write(tmp_path / "profile.json")) == judged
