"""The official OpenAI SDK against a running server: what its users do first."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionToolParam

from tests.platform import Platform, charge, cny, wish

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
HELLO: list[Any] = [{"role": "user", "content": "Hello!"}]


def demo_token(town: Platform) -> str:
    found = re.search(r"sk-[\w-]+", town.stdout)
    assert found
    return found[0]


@pytest.fixture(scope="module")
def client(town: Platform) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{town.url}/v1", api_key=demo_token(town), max_retries=0) as made:
        yield made


def as_(town: Platform, token: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{town.url}/v1", api_key=token, max_retries=0)


def test_a_completion(town: Platform, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO)

    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    row = town.row(raw.headers["x-request-id"])
    assert (row.input_tokens, row.output_tokens) == (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
    )
    assert raw.headers["x-aipool-charge"] == cny(row.charged_nano)
    assert row.charged_nano > 0


@pytest.mark.parametrize("model", ["gpt-3.5-turbo", "gpt-4o-mini", "MiniMax-M3"])
def test_a_stream(client: openai.OpenAI, model: str) -> None:
    said, usage = "", None
    with client.chat.completions.create(
        model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
    ) as stream:
        for chunk in stream:
            usage = chunk.usage or usage
            said += "".join(choice.delta.content or "" for choice in chunk.choices)

    whole = client.chat.completions.create(model=model, messages=HELLO)
    assert said == whole.choices[0].message.content
    assert usage == whole.usage


def test_a_stream_that_did_not_ask_shows_no_usage(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True) as stream:
        chunks = list(stream)

    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_a_tool_call_streamed_and_its_answer(client: openai.OpenAI) -> None:
    name, arguments, call_id = "", "", ""
    with client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "How is the weather in Berlin?"}],
        tools=[WEATHER],
        tool_choice="required",
        stream=True,
    ) as stream:
        for chunk in stream:
            for call in chunk.choices[0].delta.tool_calls or ():
                assert call.function
                call_id = call.id or call_id
                name += call.function.name or ""
                arguments += call.function.arguments or ""

    assert name == "get_weather"
    assert "city" in json.loads(arguments)
    called: Any = {"id": call_id, "type": "function"}
    called["function"] = {"name": name, "arguments": arguments}
    told: list[Any] = [
        {"role": "user", "content": "How is the weather in Berlin?"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": call_id, "content": "sunny"},
    ]
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=told, tools=[WEATHER])
    assert answer.choices[0].message.content


def test_the_helper_that_gathers_a_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="gpt-4o-mini", messages=HELLO) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()

    assert final.choices[0].message.content


def test_many_calls_at_once_through_the_async_client(town: Platform) -> None:
    async def play() -> list[str | None]:
        async with openai.AsyncOpenAI(
            base_url=f"{town.url}/v1", api_key=demo_token(town), max_retries=0
        ) as client:

            async def whole(number: int) -> str | None:
                answer = await client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": f"Call {number}"}]
                )
                return answer.choices[0].message.content

            async def streamed(number: int) -> str | None:
                said = ""
                async with await client.chat.completions.create(
                    model="gpt-4o-mini",
                    messages=[{"role": "user", "content": f"Call {number}"}],
                    stream=True,
                ) as stream:
                    async for chunk in stream:
                        said += chunk.choices[0].delta.content or ""
                return said

            kinds = (whole, streamed)
            return await asyncio.gather(*(kinds[n % 2](n // 2) for n in range(60)))

    answers = asyncio.run(play())

    for number in range(30):
        assert answers[2 * number] == answers[2 * number + 1]
        assert f"Call {number}" in (answers[2 * number] or "")


def test_the_models_are_listed_and_each_can_be_retrieved(client: openai.OpenAI) -> None:
    listed = [model.id for model in client.models.list()]

    assert {"gpt-3.5-turbo", "gpt-4o-mini", "MiniMax-M3"} <= set(listed)
    for model in listed:
        assert client.models.retrieve(model).id == model


def test_errors_are_raised_as_their_classes(town: Platform, client: openai.OpenAI) -> None:
    def fails(kind: type[openai.APIStatusError], who: openai.OpenAI, **more: Any) -> Any:
        wanted: dict[str, Any] = {"model": "gpt-4o-mini", "messages": HELLO, **more}
        with pytest.raises(kind) as raised:
            who.chat.completions.create(**wanted)
        assert raised.value.request_id
        return raised.value

    with as_(town, "sk-" + "A" * 43) as stranger:
        assert fails(openai.AuthenticationError, stranger).code == "invalid_api_key"
    assert fails(openai.NotFoundError, client, model="gpt-99").code == "model_not_found"
    assert fails(openai.BadRequestError, client, n=0).param == "n"
    with as_(town, town.customer(0).token) as poor:
        refused = fails(openai.APIStatusError, poor)
        assert (refused.status_code, refused.code) == (402, "insufficient_quota")
    with as_(town, town.customer(models=("m",)).token) as narrow:
        assert fails(openai.PermissionDeniedError, narrow).code == "model_not_allowed"
    with as_(town, town.customer().token) as rich:
        down = wish("sdk-down", {"status": 500})["messages"]
        failed = fails(openai.InternalServerError, rich, model="m", messages=down)
        assert (failed.status_code, failed.code) == (503, "no_available_key")


def test_sdks_repeat_what_repeating_can_help_and_nothing_else(town: Platform) -> None:
    customer = town.customer()
    with (
        openai.OpenAI(base_url=f"{town.url}/v1", api_key=customer.token, max_retries=2) as client,
        pytest.raises(openai.NotFoundError),
    ):
        client.chat.completions.create(model="gpt-99", messages=HELLO)
    town.newest(customer)
    assert len(town.rows(customer)) == 1

    again = town.customer()
    wishes = [{"status": 500}, {"status": 500}, {}]  # both keys, then the repeated call
    with openai.OpenAI(base_url=f"{town.url}/v1", api_key=again.token, max_retries=2) as client:
        answer = client.chat.completions.create(
            model="m", messages=wish("x", wishes)["messages"], user="sdk-again"
        )
    assert answer.choices[0].message.content
    assert len(town.vendors[0].all("sdk-again", 3)) == 3


def test_a_stream_that_breaks_off_raises(town: Platform) -> None:
    customer = town.customer()
    with as_(town, customer.token) as client:
        said = ""
        with (
            pytest.raises(openai.APIError, match="broke off"),
            client.chat.completions.create(
                model="m", messages=wish("x", {"cut_after": 5})["messages"], stream=True
            ) as stream,
        ):
            for chunk in stream:
                said += chunk.choices[0].delta.content or ""

    assert said == " word" * 4


def test_leaving_a_stream_costs_what_the_vendor_reports(town: Platform) -> None:
    customer, mark = town.customer(), "sdk-leaves"
    with as_(town, customer.token) as client:
        stream = client.chat.completions.create(
            model="m",
            messages=wish("x", {"events": 40, "interval": 0.01})["messages"],
            stream=True,
            user=mark,
        )
        for number, _ in enumerate(stream):
            if number == 5:
                break
        stream.close()

    entry, row = town.vendors[0].one(mark), town.newest(customer)
    assert row.status == 499
    assert row.charged_nano == charge((entry.billed_input, entry.billed_output))
