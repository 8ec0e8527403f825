"""Text that was not written by this program, as it stands in a prompt: between lines that it can neither know nor
forge, without the headings by which answers are read.

What is inside may say "ignore your instruction". A fence makes such an attack hard, not impossible, which is why what
a model says is measured against people like everything else.
"""

import re

from evalpipe.ids import content_hash

_NAMES = ("trace", "criterion", "note")
_FENCE = re.compile(rf"<(\s*/?\s*(?:{'|'.join(_NAMES)})-)", re.IGNORECASE)
_HEADING = re.compile(r"\[\[(\s*##)")


class Fences:
    """The fences of one prompt. Their names follow from all that they hold, so no text can close its own."""

    def __init__(self, *texts: str) -> None:
        self._suffix = content_hash(list(texts))

    def tag(self, name: str) -> str:
        """The name of the fences of this kind: the text stands between the lines <tag> and </tag>."""
        assert name in _NAMES
        return f"{name}-{self._suffix}"

    def around(self, name: str, text: str) -> str:
        """The text, defused, between its two lines."""
        tag = self.tag(name)
        return f"<{tag}>\n{defused(text)}\n</{tag}>"


def defused(text: str) -> str:
    """Text without fences and without the headings of an answer: a model that quotes it gives no verdict by it."""
    return _FENCE.sub(r"< \1", _HEADING.sub(r"[ [\1", text))
