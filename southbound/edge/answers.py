"""Answers to an administrator's questions.

The rule: a client is never let go of while an answer is on its way, nor by the thread that brings it.
librdkafka 2.16 ends the process then: a segmentation fault, `rd_kafka_admin_response_parse: Assertion
rko_result`, or `calling rd_kafka_destroy() from librdkafka owned thread` (all three were seen). So each
question is given a time of its own, by which the client answers whatever brokers do; all answers to a
question are waited for before any is looked at; and no error keeps a client in a circle of references, which
would be collected on any thread.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future, wait
from typing import Any

from southbound.edge.kafka import KafkaException, edge_error

_LEAST_S = 0.01


def asking_s(timeout_s: float) -> float:
    """Return the `request_timeout` of a question, in seconds: none would be a minute."""
    return max(timeout_s, _LEAST_S)


def await_all(answers: Collection[Future[Any]]) -> None:
    """Return when a question is answered, whatever the answers are."""
    wait(answers)


def answer_of(answer: Future[Any], doing: str, fine: int | None = None) -> Any:
    """Return what was answered; None for the error with the code `fine`. Raises `EdgeError`."""
    try:
        return answer.result()
    except KafkaException as error:
        if error.args[0].code() == fine:
            return None
        raise edge_error(error, doing) from error
    finally:
        # Its exception holds this frame.
        del answer
