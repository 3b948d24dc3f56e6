"""The sandbox: a vendor inside the product, so that everything can be tried without a key.

It answers chat completions for any model name over a Unix socket in the run directory. The whole
behaviour is `answers.answer`: request bytes in, answer bytes out, and the same request gets
the same answer every time (`created` is an argument). Its usage is true by its own rule:

- a prompt token is four bytes of UTF-8, rounded up per text; each message adds 3, each picture,
  sound or file 85;
- an answer token is one delta of its stream: a word of up to 16 characters with the space before
  it, or one character of Chinese, Japanese or Korean; a tool call's name is one more.

It honours `max_tokens` and `max_completion_tokens` (the latter wins), `n`, `stream`,
`stream_options.include_usage`, `response_format` and `tools`. It calls a tool when `tool_choice`
demands one or when the last user message mentions a tool by name, with arguments made up from the
tool's schema; a tool's result gets a text.
"""

from aipool.vendors.base import Vendor

SANDBOX = Vendor(
    type="sandbox",
    title="Sandbox",
    base_url="http://sandbox/v1",
    max_tokens_field="max_completion_tokens",
    socket="sandbox.sock",
    verified=True,
)
