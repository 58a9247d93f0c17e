"""Values that stand within texts."""

from etl.dialects.shapes.values import error_of


def test_an_error_is_read_where_a_stack_trace_with_braces_follows_it() -> None:
    """openinference-instrumentation-langchain 0.1.80 puts exception and trace into one text."""
    body = "{'error': {'message': 'Slow down', 'type': 'requests', 'code': 'rate_limit'}}"
    message = f'OpenAIRateLimitError("Error code: 429 - {body}")Traceback:\n    call(**{{"a": 1}})\n'

    assert error_of(message) == {"http_status": 429, "code": "rate_limit", "message": "Slow down", "type": None}


def test_botocore_says_what_the_service_said() -> None:
    """Its words are around the service's code and message."""
    words = (
        "An error occurred (ThrottlingException) when calling the Converse operation (reached max retries: 4): Wait."
    )

    assert error_of(words) == {"http_status": None, "code": "ThrottlingException", "message": "Wait.", "type": None}
