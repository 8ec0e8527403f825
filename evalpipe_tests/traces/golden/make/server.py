"""A model on loopback that speaks by a script: OpenAI's completions, responses and embeddings, Anthropic's messages.

It takes OTLP exports as well and keeps them, so that one address serves a whole recording. It decides nothing by
chance or by time. Running a library against it and writing the fixture is record.py's. Standard library only.

The script is one conversation with a shop. What is answered depends on the last message alone:

    Where is order 1042?      a call of get_order with {"order_id": "1042"} where tools are offered
    (the result of a tool)    Order 1042 left the warehouse on Monday.
    When does it arrive?      It arrives on Thursday.
    Tell me a parcel joke.    Why did the parcel blush? It saw the label.
    Describe order 1042.      {"order_id": "1042", "status": "shipped"}: for structured answers
    Break.                    status 400

Any other prompt is a 404 that names it: a recording must not go on with an answer nobody wrote.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "scripted-1-2026-02-16"  # what answers, whatever name was asked for


@dataclass(frozen=True)
class Usage:
    """Tokens as OpenAI counts them: `n_input` includes those read from the cache and written to it."""

    n_input: int
    n_output: int
    n_cached: int = 0
    n_cache_write: int = 0


@dataclass(frozen=True)
class Answer:
    """What the model says: words, or a call of a tool."""

    text: str
    usage: Usage
    tool: str = ""
    arguments: str = ""
    call_id: str = ""


SCRIPT = {
    "Where is order 1042?": Answer("", Usage(52, 17), "get_order", '{"order_id": "1042"}', "call_1042"),
    "When does it arrive?": Answer("It arrives on Thursday.", Usage(120, 9, n_cached=64, n_cache_write=16)),
    "Tell me a parcel joke.": Answer("Why did the parcel blush? It saw the label.", Usage(21, 11)),
    "Describe order 1042.": Answer('{"order_id": "1042", "status": "shipped"}', Usage(33, 14)),
}
AFTER_TOOL = Answer("Order 1042 left the warehouse on Monday.", Usage(89, 12, n_cached=64))
FAILING = "Break."
_RESULTS = ("tool_result", "function_call_output")


class Server(ThreadingHTTPServer):
    """Answers until shut down. `exports` are the OTLP bodies it was sent: (content type, content encoding, body)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.exports: list[tuple[str, str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self._body()
        path = self.path.split("?")[0]
        if path.endswith(("/traces", "/logs", "/metrics")):
            if path.endswith("/traces"):
                kind, encoding = self.headers.get("Content-Type", ""), self.headers.get("Content-Encoding", "")
                self.server.exports.append((kind, encoding, body))
            self._reply(200, b"", "application/x-protobuf")
            return
        request = json.loads(body)
        if path.endswith("/embeddings"):
            self._reply_json(200, _embedding(request))
            return
        prompt = _prompt(request)
        answer = AFTER_TOOL if prompt is None else SCRIPT.get(prompt)
        if prompt == FAILING:
            self._reply_json(400, _error("invalid_request_error", "The script breaks here."))
        elif answer is None:
            self._reply_json(404, _error("not_found_error", f"No scripted answer to {prompt!r}; see server.py."))
        elif path.endswith("/chat/completions"):
            self._reply_answer(request, _completion(answer), _completion_chunks(request, answer))
        elif path.endswith("/messages"):
            self._reply_answer(request, _message(answer), _message_events(answer))
        elif path.endswith("/responses"):
            self._reply_answer(request, _response(answer), _response_events(answer))
        else:
            self._reply_json(404, _error("not_found_error", f"No model speaks at {path}."))

    def do_GET(self) -> None:
        self._reply_json(404, _error("not_found_error", f"Nothing is read at {self.path}."))

    def _body(self) -> bytes:
        """Node's exporters send chunks: a size in hex on a line, so many bytes, an empty line; size 0 ends."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks: list[bytes] = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, format: str, *args: Any) -> None:
        """A recording prints what its script prints, no access log."""

    def _reply_answer(self, request: dict[str, Any], whole: dict[str, Any], events: Iterator[str]) -> None:
        if request.get("stream"):
            self._reply(200, "".join(events).encode(), "text/event-stream")
        else:
            self._reply_json(200, whole)

    def _reply_json(self, status: int, document: dict[str, Any]) -> None:
        self._reply(status, json.dumps(document).encode(), "application/json")

    def _reply(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _prompt(request: dict[str, Any]) -> str | None:
    """The words that are to be answered; None when it is a tool's result."""
    messages = request.get("messages") or request.get("input")
    if isinstance(messages, str):
        return messages
    last = messages[-1] if messages else {}
    content = last.get("content")
    parts = content if isinstance(content, list) else []
    if last.get("role") == "tool" or any(part.get("type") in _RESULTS for part in [last, *parts]):
        return None
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in parts)


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message, "code": None, "param": None}}


def _embedding(request: dict[str, Any]) -> dict[str, Any]:
    vector = {"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3]}
    usage = {"prompt_tokens": 6, "total_tokens": 6}
    return {"object": "list", "model": request["model"], "data": [vector], "usage": usage}


def _completion(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.tool:
        message["tool_calls"] = [_tool_call(answer)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
    return _chat(answer, "chat.completion", [choice]) | {"usage": _chat_usage(answer.usage)}


def _completion_chunks(request: dict[str, Any], answer: Answer) -> Iterator[str]:
    """The answer in two pieces, then the usage if the request asks for it."""
    deltas: list[dict[str, Any]]
    if answer.tool:
        deltas = [{"role": "assistant", "content": None, "tool_calls": [{"index": 0, **_tool_call(answer)}]}]
    else:
        half = len(answer.text) // 2
        deltas = [{"role": "assistant", "content": answer.text[:half]}, {"content": answer.text[half:]}]
    kind = "chat.completion.chunk"
    for delta in deltas:
        yield _data(_chat(answer, kind, [{"index": 0, "delta": delta, "finish_reason": None}]))
    yield _data(_chat(answer, kind, [{"index": 0, "delta": {}, "finish_reason": _finish(answer)}]))
    if (request.get("stream_options") or {}).get("include_usage"):
        yield _data(_chat(answer, kind, []) | {"usage": _chat_usage(answer.usage)})
    yield "data: [DONE]\n\n"


def _chat(answer: Answer, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    number = answer.usage.n_input
    return {"id": f"chatcmpl-{number}", "object": kind, "created": 1771200000, "model": MODEL, "choices": choices}


def _tool_call(answer: Answer) -> dict[str, Any]:
    function = {"name": answer.tool, "arguments": answer.arguments}
    return {"id": answer.call_id, "type": "function", "function": function}


def _finish(answer: Answer) -> str:
    return "tool_calls" if answer.tool else "stop"


def _chat_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.n_input,
        "completion_tokens": usage.n_output,
        "total_tokens": usage.n_input + usage.n_output,
        "prompt_tokens_details": {"cached_tokens": usage.n_cached},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _response(answer: Answer) -> dict[str, Any]:
    """A body of OpenAI's responses API."""
    usage = answer.usage
    return {
        "id": f"resp_{usage.n_input}",
        "object": "response",
        "created_at": 1771200000,
        "status": "completed",
        "model": MODEL,
        "output": [_response_item(answer)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "usage": {
            "input_tokens": usage.n_input,
            "input_tokens_details": {"cached_tokens": usage.n_cached},
            "output_tokens": usage.n_output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.n_input + usage.n_output,
        },
    }


def _response_item(answer: Answer) -> dict[str, Any]:
    if answer.tool:
        call = {"call_id": answer.call_id, "name": answer.tool, "arguments": answer.arguments}
        return {"type": "function_call", "id": "fc_1", "status": "completed", **call}
    content = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [content]}


def _response_events(answer: Answer) -> Iterator[str]:
    item = _response_item(answer)
    whole = _response(answer)
    place = {"output_index": 0, "item_id": item["id"]}
    begun = {**item, "status": "in_progress", **({"arguments": ""} if answer.tool else {"content": []})}
    events: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": {**whole, "status": "in_progress", "output": [], "usage": None}}),
        ("response.output_item.added", {"output_index": 0, "item": begun}),
    ]
    if answer.tool:
        events += [
            ("response.function_call_arguments.delta", {**place, "delta": answer.arguments}),
            ("response.function_call_arguments.done", {**place, "arguments": answer.arguments}),
        ]
    else:
        (part,) = item["content"]
        place = {**place, "content_index": 0}
        events += [
            ("response.content_part.added", {**place, "part": {**part, "text": ""}}),
            ("response.output_text.delta", {**place, "delta": answer.text, "logprobs": []}),
            ("response.output_text.done", {**place, "text": answer.text, "logprobs": []}),
            ("response.content_part.done", {**place, "part": part}),
        ]
    events += [
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": whole}),
    ]
    for number, (kind, fields) in enumerate(events):
        yield f"event: {kind}\n" + _data({"type": kind, "sequence_number": number, **fields})


def _message(answer: Answer) -> dict[str, Any]:
    """A body of Anthropic's messages API, which counts cached tokens apart from `input_tokens`."""
    usage = answer.usage
    return {
        "id": f"msg_{usage.n_input}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [_block(answer)],
        "stop_reason": "tool_use" if answer.tool else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage.n_input - usage.n_cached - usage.n_cache_write,
            "cache_read_input_tokens": usage.n_cached,
            "cache_creation_input_tokens": usage.n_cache_write,
            "output_tokens": usage.n_output,
        },
    }


def _block(answer: Answer) -> dict[str, Any]:
    if answer.tool:
        call_id, arguments = answer.call_id, json.loads(answer.arguments)
        return {"type": "tool_use", "id": call_id, "name": answer.tool, "input": arguments}
    return {"type": "text", "text": answer.text}


def _message_events(answer: Answer) -> Iterator[str]:
    whole = _message(answer)
    block = _block(answer)
    if answer.tool:
        begun, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": answer.arguments}
    else:
        begun, delta = {**block, "text": ""}, {"type": "text_delta", "text": answer.text}
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    for kind, fields in (
        ("message_start", {"message": {**whole, "content": [], "stop_reason": None}}),
        ("content_block_start", {"index": 0, "content_block": begun}),
        ("content_block_delta", {"index": 0, "delta": delta}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": stop, "usage": {"output_tokens": answer.usage.n_output}}),
        ("message_stop", {}),
    ):
        yield f"event: {kind}\n" + _data({"type": kind, **fields})


def _data(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document)}\n\n"
