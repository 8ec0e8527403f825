"""Who reviews, from the command line: the reviewers of this home, and how they sign in to the review page."""

from typing import Annotated

import typer

from evalpipe.cli.show import AsJson, home_of, show, tell

reviewers = typer.Typer(no_args_is_help=True, help="Who reads the queue, and how they sign in to the review page.")

Name = Annotated[str, typer.Argument(help="Name of a reviewer, as evalpipe reviewers list shows it.")]


@reviewers.command("list")
def list_reviewers(context: typer.Context, as_json: AsJson = False) -> None:
    """The reviewers of reviewers.yaml, what they read, and whether they were invited."""
    import polars as pl

    from evalpipe.review.desk.tokens import invited
    from evalpipe.review.queue.reviewers import load_reviewers

    home = home_of(context)
    known = load_reviewers(home.reviewers, home.settings.review)
    with_token = invited(home.review_tokens)
    rows = pl.DataFrame(
        [
            {
                "name": reviewer.name,
                "capacity": reviewer.capacity,
                "services": reviewer.services,
                "tools": reviewer.tools,
                "words": reviewer.words,
                "can_sign_in": reviewer.name in with_token,
            }
            for reviewer in known
        ],
        infer_schema_length=None,
    )
    show(rows, title="Reviewers", as_json=as_json, empty=f"write them into {home.reviewers}")


@reviewers.command("invite")
def invite(
    context: typer.Context,
    name: Name,
    url: Annotated[str | None, typer.Option(help="Address of the review page. Default: this machine's.")] = None,
) -> None:
    """Make a personal sign-in link. It is shown once; a new one ends those before it.

    Example: `evalpipe reviewers invite ada --url https://review.example.com`
    """
    from datetime import UTC, datetime

    from evalpipe.errors import InputError
    from evalpipe.review.desk.tokens import issue_token
    from evalpipe.review.queue.reviewers import load_reviewers

    home = home_of(context)
    names = [reviewer.name for reviewer in load_reviewers(home.reviewers, home.settings.review)]
    if name not in names:
        raise InputError(f"{name!r} is no reviewer; there are: {', '.join(names)}. Add them to {home.reviewers}")
    token = issue_token(home.review_tokens, name, datetime.now(UTC))
    ingest = home.settings.ingest
    scheme = "http" if ingest.tls_certificate is None else "https"
    base = (url or f"{scheme}://{ingest.host}:{ingest.http_port}").rstrip("/").removesuffix("/review")
    tell(f"{base}/review/sign-in#{token}")


@reviewers.command("revoke")
def revoke(context: typer.Context, name: Name) -> None:
    """End a reviewer's sign-in, on every device. What they said stays."""
    from evalpipe.errors import StateError
    from evalpipe.review.desk.tokens import has_tokens
    from evalpipe.review.desk.tokens import revoke as end

    tokens = home_of(context).review_tokens
    if not end(tokens, name):
        raise StateError(f"{name!r} has no sign-in. See: evalpipe reviewers list")
    tell(f"{name} can no longer sign in. To invite them again: evalpipe reviewers invite {name}")
    if not has_tokens(tokens):
        tell("Nobody is invited now: on this machine the review page asks for a name only; elsewhere it is closed.")
