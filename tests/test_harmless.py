"""Texts of others in a terminal, a table, Markdown and a figure."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion import harmless
from lesion.errors import LesionError, first_line

HOSTILE = "a\x1b[31mb\nc\rd\x00e\u202ef\u2028g\x7fh\x9bi\u200bj"
SEEN = r"a\u001b[31mb\nc\rd\u0000e\u202ef\u2028g\u007fh\u009bi\u200bj"


def steers(text: str) -> bool:
    """Whether a text has controls, marks of direction or ends of lines in it."""
    return any(unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") for sign in text)


def test_what_cannot_be_seen_is_written_as_its_escape():
    assert harmless.line(HOSTILE) == SEEN
    assert harmless.line("layer1.0 größe 層 12\u202f000 µ") == "layer1.0 größe 層 12\u202f000 µ"


@given(st.text())
def test_no_text_steers_a_terminal(text):
    assert not steers(harmless.line(text)) and not steers(harmless.name(text))
    assert not steers(harmless.lines(text).replace("\n", "").replace("\t", ""))
    assert harmless.line(harmless.line(text)) == harmless.line(text)


def test_lines_and_tabs_of_a_whole_text_stay():
    assert harmless.lines('{"a":\n\t"\x7f"}') == '{"a":\n\t"\\u007f"}'


def test_an_error_is_one_line_wherever_it_is_shown():
    error = LesionError(f"Expected a layer, got '{HOSTILE}'.")
    assert str(error) == f"Expected a layer, got '{SEEN}'."
    assert first_line(LesionError("a\nb")) == "a\\nb"


def test_long_names_are_cut_and_stay_apart():
    long, other = "a" * 500, "a" * 250 + "b" + "a" * 249
    assert len(harmless.name(long)) <= harmless.WIDEST
    assert harmless.name(long) != harmless.name(other)
    ordinary = "encoder.stages.3.blocks.17.mlp.fc1"
    assert harmless.name(ordinary) == ordinary


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_no_cell_is_a_formula(sign):
    assert str(harmless.cell(f"{sign}cmd|' /C calc'!A0")).startswith("'")


@pytest.mark.parametrize("value", [-0.5, -3, None, True, "layer-1", "0.3 = x", ""])
def test_numbers_and_ordinary_texts_stay_as_they_are(value):
    assert harmless.cell(value) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![x](https://a.b/c.png)", r"!\[x\](https\://a.b/c.png)"),
        ("<img src=x>", r"\<img src=x>"),
        ("&lt;b&gt;", r"\&lt;b\&gt;"),
        ("www.example.org", r"www\.example.org"),
        ("~~a~~ $x$ `b`", r"\~\~a\~\~ \$x\$ \`b\`"),
        ("a\nb | c", r"a\\nb \| c"),
    ],
)
def test_markdown_shows_texts_as_they_are(text, shown):
    assert harmless.markdown(text) == shown
