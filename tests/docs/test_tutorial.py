"""The tutorial's commands run as written and print what it shows."""

from pathlib import Path

import pytest
from tests.docs import shown

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial-battery.md"


def test_the_tutorial_shows_what_its_commands_print(tmp_path: Path) -> None:
    """If the scheduler decides otherwise than it did: ``python tests/docs/shown.py --write`` the document."""
    commands = shown.commands_of(TUTORIAL.read_text())
    assert len(commands) > 12
    outputs = shown.printed(commands, tmp_path)
    for one, output in zip(commands, outputs, strict=True):
        assert shown.matches(one, output), "\n".join([f"$ {one.command}", *output])
    for name in ("monday", "tuesday"):
        for kind in ("app", "phone"):
            made = tmp_path / "project" / "examples" / "tutorial" / f"{name}-{kind}.csv.gz"
            assert made.read_bytes()[10:] == (ROOT / "examples" / "tutorial" / made.name).read_bytes()[10:]


DOCUMENT = """```console
$ one \\
    two
first  1.5
...
last: 2
$ three
```

```console live
$ four
took  7 ms
```
"""


def test_commands_and_what_is_shown_of_them_are_found() -> None:
    one, three, four = shown.commands_of(DOCUMENT)
    assert (one.command, one.lines) == ("one \\\n    two", ("first  1.5", "...", "last: 2"))
    assert (three.command, three.lines, three.live, four.live) == ("three", (), False, True)


@pytest.mark.parametrize(
    ("output", "same"),
    [
        (["first  1.5", "last: 2"], True),
        (["first  1.5", "more", "last: 2"], True),
        (["first  1.6", "last: 2"], False),
        (["new", "first  1.5", "last: 2"], False),
        (["first  1.5", "last: 2", "new"], False),
        (["first  1.5"], False),
    ],
)
def test_only_what_is_left_out_may_differ(output: list[str], *, same: bool) -> None:
    one, three, _ = shown.commands_of(DOCUMENT)
    assert shown.matches(one, output) == same
    assert shown.matches(three, output) is False


def test_figures_of_this_machine_may_differ_and_words_not() -> None:
    four = shown.commands_of(DOCUMENT)[2]
    assert shown.matches(four, ["took  9 ms", "more"])
    assert not shown.matches(four, ["lasted  7 ms"])


def test_a_document_is_written_anew() -> None:
    text = shown.rewritten(DOCUMENT, [["first  3", "a", "b", "last: 4"], [], ["took  1 ms"]])
    expected = DOCUMENT.replace("1.5", "3").replace("last: 2", "last: 4").replace("7 ms", "1 ms")
    assert text == expected
