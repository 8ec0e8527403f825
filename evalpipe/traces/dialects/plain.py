"""The bare names that people set by hand, with or without a convention's attributes beside them."""

from evalpipe.traces.dialects.dialect import Dialect

DIALECT = Dialect(
    "plain",
    betrays=("input.value", "output.value", "tool.input", "tool.output", "tool.success", "tool.name"),
    infers=((("tool.name",), "tool"),),
    fields={
        "tool_name": ("tool.name",),
        # OpenInference calls the definition of the parameters tool.parameters, so the span's input comes before it.
        "tool_input": ("tool.input", "input.value", "tool.parameters"),
        "tool_output": ("tool.output", "output.value"),
        "input": ("input.value",),
        "output": ("output.value",),
        "is_tool_success": ("tool.success",),
    },
)
