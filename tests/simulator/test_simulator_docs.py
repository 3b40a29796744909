import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 1
    exec(compile(blocks[0], str(PAGE), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["value", "largest", "smallest"]


def test_the_tests_and_modules_it_names_exist() -> None:
    text, root = PAGE.read_text(), PAGE.parents[1]
    named = re.findall(r"`(tests/\S+?\.py)`", text)
    assert len(named) == 4
    assert all((root / path).is_file() for path in named)
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", text, flags=re.MULTILINE)
    modules = [name for row in rows for name in re.findall(r"\w+", row)]
    assert len(modules) > 15
    folder = root / "simulator" / "trimtab_sim"
    assert [m for m in modules if not (folder / f"{m}.py").is_file() and not (folder / m).is_dir()] == []
