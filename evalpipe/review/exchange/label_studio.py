"""Label Studio: tasks to label, and its exports JSON, JSON_MIN and CSV.

Who said it, when, as what and in which cycle travels in hidden controls, because Label Studio keeps only its own users
and times. An imported annotation that is edited there keeps them. Predictions and skipped annotations are not read.
Sources: https://labelstud.io/guide/task_format and label_studio_sdk.converter (Converter.convert_to_json_min).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from evalpipe.review.exchange.said import Record, Said, about, conversation, json_array, parts, picked

TITLE: str = "Label Studio"
NOUN: str = "task"

LABEL_STUDIO_CONFIG = """\
<View>
  <Header value="$reasons"/>
  <Paragraphs name="conversation" value="$conversation" layout="dialogue"/>
  <Choices name="verdict" toName="conversation" choice="single" required="true">
    <Choice value="good"/><Choice value="bad"/><Choice value="partial"/>
    <Choice value="withdrawn" hint="Takes back all that you said of this trace"/>
  </Choices>
  <TextArea name="failure_mode" toName="conversation" placeholder="What went wrong, in your words" maxSubmissions="1"/>
  <TextArea name="correction" toName="conversation" placeholder="What it should have been" maxSubmissions="1"/>
  <TextArea name="evidence" toName="conversation" placeholder="The passage that shows it" maxSubmissions="1"/>
  <TextArea name="comment" toName="conversation" placeholder="Anything else" maxSubmissions="1"/>
  <View style="display: none">
    <TextArea name="said_by" toName="conversation"/>
    <TextArea name="said_at" toName="conversation"/>
    <TextArea name="said_as" toName="conversation"/>
    <TextArea name="said_in" toName="conversation"/>
  </View>
</View>
"""
"""The labelling interface to which the exported tasks fit."""

_ANSWERS = ("verdict", "failure_mode", "correction", "comment", "evidence")
_HIDDEN = {"said_by": "annotator", "said_at": "annotated_at", "said_as": "label_source", "said_in": "cycle"}
_CONTROLS = {**{name: name for name in _ANSWERS}, **_HIDDEN}
_DATA = ("trace_id", "reviewer", "cycle")
_EXPORT_COLUMNS = {"annotation_id", "annotator", "lead_time"}  # what JSON_MIN and CSV add to a task's data


def fits(record: Record) -> bool:
    return isinstance(record.get("data"), dict) or record.keys() >= _EXPORT_COLUMNS


def said(records: Sequence[Record]) -> Iterator[Said]:
    """Each annotation of each task. A task that nobody annotated is an unanswered row of the queue it came from."""
    for index, record in enumerate(records):
        data = record["data"] if isinstance(record.get("data"), dict) else record
        known = picked(data, _DATA)
        answers = [known | answer for answer in (_flat(record) if data is record else _nested(record))]
        if answers:
            yield from parts(index, "annotation", answers)
        elif "reviewer" in known:
            yield Said(index, known)


def queue_text(rows: Iterable[Record]) -> str:
    """One task a queued trace, for a project with LABEL_STUDIO_CONFIG."""
    return json_array({"data": about(row) | {"conversation": conversation(row, "author", "text")}} for row in rows)


def annotation_text(rows: Iterable[Record]) -> str:
    """One task a trace with its annotations, for such a project; the conversation is not repeated."""
    by_trace: dict[str, list[Record]] = {}
    for row in rows:
        by_trace.setdefault(row["trace_id"], []).append({"result": list(_result(row))})
    return json_array(
        {
            "data": {
                "trace_id": trace_id,
                "reasons": "",
                "conversation": [{"author": "trace", "text": trace_id}],
            },
            "annotations": annotations,
        }
        for trace_id, annotations in by_trace.items()
    )


def _nested(task: Record) -> Iterator[Record]:
    annotations = task.get("annotations")
    for annotation in annotations if isinstance(annotations, list) else []:
        if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
            yield _by(annotation.get("completed_by"), annotation) | _values(annotation.get("result"))


def _flat(row: Record) -> Iterator[Record]:
    if row["annotation_id"] is not None:
        values = {name: _text(row[control]) for control, name in _CONTROLS.items() if row.get(control) is not None}
        yield _by(row["annotator"], row) | values


def _by(user: Any, stamped: Record) -> Record:
    """Who and when, as far as Label Studio knows: an e-mail address, else the number of one of its users."""
    name = user.get("email") or user.get("id") if isinstance(user, dict) else user
    is_number = isinstance(name, int) or (isinstance(name, str) and name.isdecimal())
    annotator = f"label-studio {name}" if is_number else name
    return {"annotator": annotator, "annotated_at": stamped.get("updated_at") or stamped.get("created_at")}


def _values(results: Any) -> Record:
    values: Record = {}
    for result in results if isinstance(results, list) else []:
        if isinstance(result, dict) and isinstance(value := result.get("value"), dict):
            values[str(result.get("from_name"))] = _text(value.get("choices", value.get("text")))
    return {name: values[control] for control, name in _CONTROLS.items() if control in values}


def _text(value: Any) -> Any:
    """The text of a control: one of a list of one, the lines of several."""
    return "\n".join(map(str, value)) if isinstance(value, list) else value


def _result(row: Record) -> Iterator[Record]:
    for control, name in _CONTROLS.items():
        if row[name] is not None:
            kind, key = ("choices", "choices") if control == "verdict" else ("textarea", "text")
            yield {
                "id": f"{row['annotation_id']}_{control}",
                "from_name": control,
                "to_name": "conversation",
                "type": kind,
                "value": {key: [row[name]]},
            }
