// Examples that work as they are: with this platform's address, the token and a model of its own.

/** Shown where nothing is on sale yet. */
const MODEL = "gpt-4o-mini";

const PROMPT = "Hello!";

/** A model that an example can be run with: one that chats, of those that a token may call (null =
 * all). */
export function exampleModel(chatting: string[] | undefined, allowed: string[] | null): string {
  const named = allowed === null ? chatting : chatting?.filter((name) => allowed.includes(name));
  return named?.[0] ?? allowed?.[0] ?? MODEL;
}

export function curl(baseUrl: string, token: string, model: string): string {
  const body = JSON.stringify({ model, messages: [{ role: "user", content: PROMPT }] });
  return [
    `curl ${baseUrl}/chat/completions \\`,
    `  -H "Authorization: Bearer ${token}" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d '${body}'`,
  ].join("\n");
}

export function python(baseUrl: string, token: string, model: string): string {
  return `from openai import OpenAI

client = OpenAI(base_url="${baseUrl}", api_key="${token}")
answer = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "${PROMPT}"}],
)
print(answer.choices[0].message.content)`;
}

export function javascript(baseUrl: string, token: string, model: string): string {
  return `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${baseUrl}", apiKey: "${token}" });
const answer = await client.chat.completions.create({
  model: "${model}",
  messages: [{ role: "user", content: "${PROMPT}" }],
});
console.log(answer.choices[0].message.content);`;
}

export function environment(baseUrl: string, token: string): string {
  return `export OPENAI_BASE_URL="${baseUrl}"\nexport OPENAI_API_KEY="${token}"`;
}
