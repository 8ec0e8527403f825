from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from evalpipe.pages import shown
from evalpipe.review.desk.desk import Mark
from evalpipe.tables import SIGNALS
from evalpipe.web.review_text import LABELS, first_line, label, marked

VISIBLE = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")))


class Parsed(HTMLParser):
    """What a browser would make of it: its text, and its tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(str(html))
        self.close()

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@given(VISIBLE)
def test_a_text_stays_text_whatever_it_holds(text):
    parsed = Parsed(shown(text))
    assert parsed.text == text
    assert parsed.tags == []


@given(st.lists(VISIBLE.filter(bool), min_size=1, max_size=5))
def test_marks_add_nothing_to_the_text_and_hold_their_passages(pieces):
    marks, at = [], 0
    for number, piece in enumerate(pieces):
        if number % 2:
            marks.append(Mark("content", at, at + len(piece), "hedging"))
        at += len(piece)
    parsed = Parsed(marked("".join(pieces), marks))
    assert parsed.text == "".join(pieces)
    assert [tag for tag, _ in parsed.tags] == ["mark"] * (len(pieces) // 2)


def test_a_mark_says_in_words_which_signal_it_shows():
    ((tag, attributes),) = Parsed(marked("It might be.", [Mark("content", 3, 8, "hedging")])).tags
    assert (tag, attributes["data-signal"], attributes["data-label"]) == ("mark", "hedging", "unsure wording")


def test_a_signal_with_a_hostile_name_stays_an_attribute():
    ((_, attributes),) = Parsed(marked("a", [Mark("content", 0, 1, '"><script>')])).tags
    assert attributes["data-signal"] == '"><script>'


def test_what_turns_text_around_or_hides_in_it_is_seen():
    # Right-to-left override, zero-width space, a tag character (invisible "a"), a NUL, and its end.
    parsed = Parsed(shown("a\u202eb\u200bc\U000e0061d\x00e\u202c"))
    assert parsed.text == "aU+202EbU+200BcU+E0061dU+0000eU+202C"


def test_joiners_stay_since_emoji_and_persian_are_spelled_with_them():
    assert Parsed(shown("🧑\u200d💻 می\u200cخواهم")).text == "🧑\u200d💻 می\u200cخواهم"


def test_every_signal_has_a_name_for_people():
    assert set(SIGNALS) <= set(LABELS)
    assert label("something_new") == "something new"


def test_a_long_text_is_one_short_line_in_a_list():
    assert first_line("a\n b", 10) == "a b"
    assert first_line("abcdef", 4) == "abc…"
    assert first_line(None) == ""
