"""Cases from a file, as TRACES rows, so that the same evaluators judge them as production.

What a case is stands in case_json.py, how lines and rows are read in case_lines.py, what becomes of OTLP in
case_spans.py. Judging cases is in judge.py; what CI replays against a new release is in replay.py.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from evalpipe.errors import InputError
from evalpipe.garbage import without_collection
from evalpipe.gate.case_json import Case, NoCaseError, case_of, sorted_json, trace_rows
from evalpipe.gate.case_lines import Numbered, csv_rows, json_lines
from evalpipe.ids import content_hash
from evalpipe.otlp.files import Stream, opened
from evalpipe.settings import ObserveSettings
from evalpipe.tables import REJECTIONS, TRACES

if TYPE_CHECKING:
    from evalpipe.traces.spans import Reading

_CHUNK_CASES = 5_000  # made into a frame at once: some 20 MB as Python objects
_MAX_NAMED_LINES = 5  # the first few bad lines show what is wrong with the file
_KEPT_CHARACTERS = 4_096  # of a refused case: enough to find it, and a file of nothing else stays small in memory
_OTLP_JSON = re.compile(rb'\s*(?:\xef\xbb\xbf)?\s*\{\s*"resource(?:Spans|Metrics|Logs|Profiles)"')
# Neither JSON nor a table has these; a protobuf message has its tags and lengths.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_HEAD = 4_096  # bytes by which a file is known
_PLACE = re.compile(r"line (\d+)(?:, )?(.*)", re.DOTALL)


class Refused(NamedTuple):
    """Something in a file that is no case, and why."""

    line: int | None  # from 1; None where the file has no lines
    reason: str
    content: str | None = None  # itself, or its beginning


class Cases(NamedTuple):
    """Cases to judge. `about` says of each what is not in a trace."""

    traces: pl.DataFrame  # TRACES, one row a case; trace_id is the case id
    about: pl.DataFrame  # ABOUT, one row a case; cases without one name no issue and have no line
    refused: tuple[Refused, ...] = ()


ABOUT = pl.Schema({"trace_id": pl.String, "line": pl.Int64, "issue_ids": pl.List(pl.String)})
"""Of each case: where it stands in its file, from 1, and the issues whose evaluators count it."""


def cases_of_traffic(traces: pl.DataFrame) -> Cases:
    """TRACES rows as cases."""
    return Cases(traces, pl.DataFrame(schema=ABOUT))


def read_cases(path: Path, *, is_strict: bool = False, reading: "Reading | None" = None) -> Cases:
    """The cases of a file as TRACES rows; trace_id is the case id.

    The file is JSON Lines, CSV (.csv), or OTLP as `evalpipe ingest` takes it, each plain, gzip or zstd. JSON and OTLP
    are told apart by content.

    A JSON case is `{input, output, id?, messages?, tool_calls?, issues?, metadata?}`. `input` and `output` are text;
    any other JSON value is kept as its JSON text. `messages` is the conversation up to the output: `{role, content}`
    with the roles system, user, assistant, tool_call, tool_result, or OpenAI's `tool_calls` and role tool; where it
    holds the user's input or ends with the output, these need not be repeated. `tool_calls`, made before the output,
    is `[{name, arguments, result, is_error?}]`. `issues` are the issues whose evaluators count it, each an id or an
    object with `issue_id`. `metadata` may say service, version, session_id, user_id, environment, model,
    n_input_tokens, n_output_tokens, turn_index, cost_usd, duration_s; the rest of it is free. A CSV file has the
    columns input and output, and may have id and any of these metadata. A case without an id is named by its content.

    Of OTLP each trace is a case, and `reading` says how spans are read: by default at the prices that come with
    evalpipe, and redacted nowhere.

    Cases of lines stand in the order of the file, those of traces in order of start. What is no case is in `refused`:
    a gate must not silently judge fewer cases than it was given. Raises InputError when `is_strict` and anything is
    refused, and when nothing is left.
    """
    with opened(path) as stream:
        try:
            head = stream.peek(_HEAD)[:_HEAD]
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read: {error.strerror}. Give a file of cases: JSON Lines, CSV or OTLP."
            ) from error
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError(f"{path}: is UTF-16 text. Save it as UTF-8.")
        is_csv = ".csv" in [suffix.lower() for suffix in path.suffixes[-2:]]
        if not is_csv and (_OTLP_JSON.match(head) or _BINARY.search(head)):
            cases = _of_spans(stream, path, reading)
        else:
            limit = (ObserveSettings() if reading is None else reading.settings).max_payload_bytes
            cases = _of_lines(csv_rows(stream, path) if is_csv else json_lines(stream, limit))
    refused, n_cases = cases.refused, cases.traces.height
    if refused and (is_strict or not n_cases):
        named = [
            one.reason if one.line is None else f"line {one.line}: {one.reason}" for one in refused[:_MAX_NAMED_LINES]
        ]
        more = f"; and {len(refused) - _MAX_NAMED_LINES} more" if len(refused) > _MAX_NAMED_LINES else ""
        raise InputError(
            f"{path}: {len(refused)} of {len(refused) + n_cases} cases cannot be judged: "
            f"{'; '.join(named)}{more}. Correct or remove them; nothing was judged."
        )
    if not n_cases:
        example = "input,output" if is_csv else '{"input": "...", "output": "..."}'
        raise InputError(f"{path}: no cases, and a gate without cases decides nothing. Give at least one: {example}")
    return cases


def case_rejections(cases: Cases, *, source: str, now: datetime) -> pl.DataFrame:
    """REJECTIONS rows of what was refused in the file `source`; the same file gives the same ids."""
    rows = [
        {
            "rejection_id": "rej_" + content_hash(["case", source, one.line, one.reason, one.content]),
            "kind": "case",
            "source": source,
            "location": None if one.line is None else f"line {one.line}",
            "reason": one.reason,
            "content": one.content,
            "rejected_at": now,
        }
        for one in cases.refused
    ]
    frame = REJECTIONS.conform(pl.DataFrame(rows, schema=REJECTIONS.schema))
    return frame.unique(REJECTIONS.key, keep="first", maintain_order=True)


def cases_of_documents(documents: Iterable[Any]) -> Cases:
    """JSON values as cases, as `read_cases` takes them from lines; here no line is said."""
    cases = _of_lines(Numbered(number, document, b"") for number, document in enumerate(documents, start=1))
    about = cases.about.with_columns(line=pl.lit(None, pl.Int64))
    return cases._replace(about=about, refused=tuple(one._replace(line=None, content=None) for one in cases.refused))


def _of_lines(documents: Iterator[Numbered]) -> Cases:
    traces, about = [TRACES.empty()], [pl.DataFrame(schema=ABOUT)]
    refused: list[Refused] = []
    ids = _Ids()
    with without_collection():
        while chunk := list(islice(documents, _CHUNK_CASES)):
            cases: list[Case] = []
            names: list[str] = []
            lines: list[int] = []
            for line, document, text in chunk:
                try:
                    if isinstance(document, NoCaseError):
                        raise document
                    case = case_of(document)
                    names.append(ids.name(document, line))
                except NoCaseError as error:
                    refused.append(Refused(line, str(error), text.decode(errors="replace")[:_KEPT_CHARACTERS] or None))
                else:
                    cases.append(case)
                    lines.append(line)
            if cases:
                traces.append(trace_rows(cases, names))
                about.append(_about(names, lines, [case.issue_ids for case in cases]))
    return Cases(pl.concat(traces), pl.concat(about), tuple(refused))


def _of_spans(stream: Stream, path: Path, reading: "Reading | None") -> Cases:
    # Imported here: cases as JSON or CSV need none of the libraries that read OTLP.
    from evalpipe.gate.case_spans import traces_in
    from evalpipe.redaction.redactor import Redactor
    from evalpipe.traces.prices import load_prices
    from evalpipe.traces.spans import Reading

    found = traces_in(stream, path, reading or Reading(ObserveSettings(), load_prices(), Redactor()))
    refused = []
    for item in found.refused:
        place = _PLACE.fullmatch(item.location)
        rest = item.location if place is None else place[2]
        refused.append(
            Refused(
                None if place is None else int(place[1]),
                f"{rest}: {item.reason}" if rest else item.reason,
                None if item.content is None else item.content[:_KEPT_CHARACTERS].decode(errors="replace"),
            )
        )
    return Cases(found.traces, pl.DataFrame(schema=ABOUT), tuple(refused))


def _about(names: Sequence[str], lines: Sequence[int], issue_ids: Iterable[Any]) -> pl.DataFrame:
    return pl.DataFrame({"trace_id": names, "line": lines, "issue_ids": list(issue_ids)}, schema=ABOUT)


class _Ids:
    """The case ids of one file: given ones once each, the others from the content."""

    def __init__(self) -> None:
        self._line_of: dict[str, int] = {}
        self._n_alike: dict[str, int] = {}

    def name(self, case: dict[str, Any], line: int) -> str:
        given = case.get("id")
        if given is None:
            stem = "case_" + content_hash(sorted_json({key: value for key, value in case.items() if key != "id"}))
            name = stem
            while name in self._line_of:  # the same case again is one more case: it was asked for twice
                self._n_alike[stem] = self._n_alike.get(stem, 1) + 1
                name = f"{stem}_{self._n_alike[stem]}"
        else:
            name = str(given)
            if isinstance(given, bool) or not isinstance(given, str | int) or not name:
                raise NoCaseError(f"id is {given!r}, not a text or a whole number")
            if name in self._line_of:
                raise NoCaseError(f"id {name!r} is also on line {self._line_of[name]}")
        self._line_of[name] = line
        return name
