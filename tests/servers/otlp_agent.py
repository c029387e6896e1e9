"""An agent with a tool, instrumented by OpenTelemetry. It runs in an environment of its own: nothing of ours
is imported here.

    python otlp_agent.py CONVENTION CHAT_URL OTLP_URL SESSION

CONVENTION is `genai` (content on spans), `genai-events` (content on log records) or `openinference`. Each
span and each log record goes out by itself, as soon as it ends.
"""

import json
import os
import sys
from typing import Any

MODEL = "agent-live"
RULES = "You find parcels. Be brief."
TOOL = {
    "type": "function",
    "function": {
        "name": "find_parcel",
        "description": "Where a parcel is",
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "integer"}},
            "required": ["number"],
        },
    },
}


def main(convention: str, chat_url: str, otlp_url: str, session: str) -> None:
    """Answers two questions of one user, each in a trace of its own."""
    if convention.startswith("genai"):
        place = "EVENT_ONLY" if convention.endswith("events") else "SPAN_ONLY"
        os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
        os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = place
    instrument(convention, otlp_url)

    from openai import OpenAI
    from opentelemetry import trace

    tracer = trace.get_tracer("agent")
    client = OpenAI(base_url=chat_url, api_key="none")
    messages: list[Any] = [{"role": "system", "content": RULES}]
    for number in (7, 8):
        with tracer.start_as_current_span("agent turn", attributes={"session.id": session, "user.id": "ada"}):
            messages.append({"role": "user", "content": f"Where is parcel {number}?"})
            answer(client, messages, number)
    trace.get_tracer_provider().shutdown()


def answer(client: Any, messages: list[Any], number: int) -> None:
    """Asks until the model calls no tool."""
    while True:
        reply = client.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL])
        said = reply.choices[0].message
        messages.append(said.model_dump(exclude_none=True))
        if not said.tool_calls:
            return
        for call in said.tool_calls:
            found = json.dumps({"number": number, "place": "Ulm"})
            messages.append({"role": "tool", "tool_call_id": call.id, "content": found})


def instrument(convention: str, otlp_url: str) -> None:
    """Sets up the SDK as its documentation says, with exporters that send at once."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{otlp_url}/v1/traces")))
    trace.set_tracer_provider(provider)
    logger = LoggerProvider()
    logger.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(endpoint=f"{otlp_url}/v1/logs")))
    if convention == "openinference":
        from openinference.instrumentation.openai import OpenAIInstrumentor as OpenInference

        OpenInference().instrument(tracer_provider=provider)
    else:
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as GenAI

        GenAI().instrument(tracer_provider=provider, logger_provider=logger)


if __name__ == "__main__":
    main(*sys.argv[1:])
