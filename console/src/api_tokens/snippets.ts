// Examples that work as they are: with this platform's address, the token and a model of its own.

export const MODEL = "gpt-4o-mini";

const PROMPT = "Hello!";

export function curl(baseUrl: string, token: string, model = MODEL): string {
  const body = JSON.stringify({ model, messages: [{ role: "user", content: PROMPT }] });
  return [
    `curl ${baseUrl}/chat/completions \\`,
    `  -H "Authorization: Bearer ${token}" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d '${body}'`,
  ].join("\n");
}

export function python(baseUrl: string, token: string, model = MODEL): string {
  return `from openai import OpenAI

client = OpenAI(base_url="${baseUrl}", api_key="${token}")
answer = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "${PROMPT}"}],
)
print(answer.choices[0].message.content)`;
}

export function javascript(baseUrl: string, token: string, model = MODEL): string {
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
