"""What the processes that time kernels on a device have in common: requests come in and answers go out, a line of JSON
each. The first request opens a session; every further one is asked of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeVar

Request = Mapping[str, Any]
Answer = dict[str, Any]
Session = TypeVar("Session")


def serve(
    requests: IO[str],
    answers: IO[str],
    open_session: Callable[[Request], tuple[Session, Answer]],
    asked: Callable[[Session, Request], Answer],
) -> None:
    """Answers requests until there are no more, or one fails: a device that reported an error serves its process no
    longer."""
    session: Session | None = None
    for line in requests:
        request = json.loads(line)
        try:
            if session is None:
                session, answer = open_session(request)
            else:
                answer = asked(session, request)
        except Exception as error:  # whatever it is, it is this kernel's, and whoever asks goes on
            why = str(error).splitlines()[0] if str(error) else ""
            answer = {"failed": f"{type(error).__name__}: {why}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if "failed" in answer:
            return
