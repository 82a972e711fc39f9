"""What a server says that it is made of."""

from __future__ import annotations

from pathlib import Path

from inference import identity


def test_the_hash_is_of_every_source_of_the_package() -> None:
    folder = Path(identity.__file__).parent
    assert sorted(identity._sources(folder)) == sorted(folder.rglob("*.py"))


def test_what_python_keeps_beside_sources_is_not_looked_into(tmp_path: Path) -> None:
    # Another process may take it away in the middle; a listing of it would then fail, and with it the server's start.
    for name in ("model.py", "parts/layer.py", "__pycache__/model.py", "parts/__pycache__/layer.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {path.relative_to(tmp_path).as_posix() for path in identity._sources(tmp_path)}
    assert found == {"model.py", "parts/layer.py"}
