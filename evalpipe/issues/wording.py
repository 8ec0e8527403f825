"""The telling words of a failure mode: without function words, and with one word for those that say the same.

What is compared with them is in discovery.py. The lists know English; words that they do not know, those of other
languages among them, stay as they are.
"""

from evalpipe.ids import normalised_failure_mode

# The first of a line stands for all of it; underscores join words that mean it together only. A line holds what
# reviewers write for one kind of fault, or for one thing, not what a dictionary calls synonyms.
_FAULTS = """
not no never neither nor without cannot didn doesn don isn wasn hasn won missing missed misses miss lacks lacking
not omits omitted forgets forgot forgotten fails failed failing
again twice repeat repeats repeated repeatedly repeating repetition repetitive over_and_over loop loops looping
again duplicate duplicates duplicated double doubled
invented invents inventing fabricated fabricates fabrication hallucinated hallucinates hallucination hallucinations
invented made_up makes_up making_up non_existent nonexistent not_exist fictitious imaginary
wrong wrongly incorrect incorrectly false falsely mistaken erroneous inaccurate invalid broken malformed
ignored ignores ignoring disregarded disregards overlooked overlooks
refused refuses refusing refusal declined declines
early too_soon premature prematurely
late too_slow slow slowly delayed delay
rude impolite unfriendly disrespectful
dangerous unsafe harmful
outdated out_of_date obsolete stale
leaked leaks leaking exposes exposed reveals revealed discloses disclosed
"""
_THINGS = """
human operator human_agent live_agent
transfer transfers transferred handoff hand_off hands_off handed_off handover hand_over handed_over
transfer escalate escalates escalated escalation
answer answers answered reply replies replied response responses responded
asked asks asking
confirm confirms confirmed confirming confirmation
cancel cancels cancelled canceled cancelling cancellation
number numbers nr num
email e_mail mail
"""
_FUNCTION_WORDS = """
a about an and any are as at be been but by can could d did do does for from had has have he her his how i if in
into is it its just ll me my of on or our own re s she should so some such t than that the their them then there
these they this those to up us ve was we were what when which who will with would you your
agent ai assistant bot model user users customer customers
"""  # the last line: whoever did it, it is the same failure


def telling_words(text: str) -> list[str]:
    """The telling words of a text in reading order; all its words when none of them tells anything."""
    padded = f" {normalised_failure_mode(text)} "
    for phrase, word in _PHRASES.items():
        padded = padded.replace(f" {phrase} ", f" {word} ")
    words = padded.split()
    return [_WORDS.get(word, word) for word in words if word not in _IDLE] or words


def faults_of(words: list[str]) -> list[str]:
    """Those of the telling words that say what is wrong, not with what; each once."""
    return sorted(_FAULT_WORDS.intersection(words))


def _first_of_its_line(lists: str) -> dict[str, str]:
    lines = [line.split() for line in lists.strip().splitlines()]
    return {word.replace("_", " "): line[0] for line in lines for word in line}


_WORDS = _first_of_its_line(_FAULTS + _THINGS.lstrip())
_PHRASES = {words: word for words, word in _WORDS.items() if " " in words}
_FAULT_WORDS = frozenset(_first_of_its_line(_FAULTS).values())
_IDLE = frozenset(_FUNCTION_WORDS.split())
