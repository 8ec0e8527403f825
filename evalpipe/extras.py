"""Which extra of the package brings a library that is not part of its core, and how a person is told.

What each extra holds is setup.cfg; why it is so, docs/decisions/packaging.md.
"""

EXTRA_OF = {
    **dict.fromkeys(("arro3", "google", "isal", "opentelemetry", "phonenumbers", "zstandard"), "otlp"),
    **dict.fromkeys(("dspy", "litellm"), "judges"),
    "deltalake": "lake",
    **dict.fromkeys(("gepa", "scipy", "sklearn", "threadpoolctl"), "generation"),
    **dict.fromkeys(("altair", "vl_convert"), "report"),
    **dict.fromkeys(("grpc", "grpc_health", "limits", "starlette", "uvicorn", "uvloop"), "server"),
    "dagster": "orchestrator",
}
"""By top-level module; what is not here is in the core."""

_NAME_OF = {"google": "protobuf", "sklearn": "scikit-learn", "grpc": "grpcio", "phonenumbers": "phonenumberslite"}
"""As people know them, where that is not the module's name."""


def missing_part(error: ModuleNotFoundError, what: str, *, is_portable: bool) -> str | None:
    """What to install, in one line, so that `what` works; None for a module that is no library of an extra: a bug.

    A command on a home needs several extras, one after another, so it is told of all; the portable gate of its own.
    """
    module = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(module)
    if extra is None:
        return None
    name, install = _NAME_OF.get(module, module), extra if is_portable else "all"
    return f"{what} needs {name}, which is not installed. Run: pip install 'evalpipe[{install}]'"
