// The one client of the server's interface, typed by its own description (openapi.json).
//
// Whatever goes wrong is thrown as a Problem: what the server refused, in its own words and with
// its code, or that it could not be reached at all.

import createClient, { type Middleware } from "openapi-fetch";
import type { paths } from "./schema.gen";

/** A field that the server did not accept, and why. */
export interface FieldError {
  field: string;
  detail: string;
}

/** A refusal (RFC 9457), or `code` "unreachable" with status 0 when nobody answered. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly fields: FieldError[] = [],
    readonly requestId: string = "",
    readonly retryAfterSeconds: number = 0,
    /** Further members, such as the challenge that is to be solved. */
    readonly more: Readonly<Record<string, unknown>> = {},
  ) {
    super(detail || code);
  }
}

async function problemOf(response: Response): Promise<Problem> {
  const requestId = response.headers.get("x-request-id") ?? "";
  const retryAfter = Number(response.headers.get("retry-after") ?? 0) || 0;
  let said: Record<string, unknown> = {};
  try {
    said = (await response.json()) as Record<string, unknown>;
  } catch {
    // A proxy in between answers with a page of its own: then the status is all there is.
  }
  const detail = typeof said.detail === "string" ? said.detail : response.statusText;
  const fields = Array.isArray(said.errors) ? (said.errors as FieldError[]) : [];
  if (fields.length === 0 && typeof said.field === "string") {
    fields.push({ field: said.field, detail });
  }
  const code = typeof said.code === "string" ? said.code : `http_${response.status}`;
  return new Problem(response.status, code, detail, fields, requestId, retryAfter, said);
}

const manners: Middleware = {
  onRequest({ request }) {
    // What a form of another site cannot send: the server takes changes with it only.
    request.headers.set("X-AIPool", "1");
    request.headers.set("Accept-Language", document.documentElement.lang);
    return request;
  },
  async onResponse({ response }) {
    if (!response.ok) {
      throw await problemOf(response);
    }
  },
  onError({ error }) {
    return error instanceof Problem ? error : new Problem(0, "unreachable", "");
  },
};

export const api = createClient<paths>({ credentials: "same-origin", cache: "no-store" });
api.use(manners);

/** What was answered; refusals were thrown before. */
export async function answer<T>(asked: Promise<{ data?: T }>): Promise<T> {
  return (await asked).data as T;
}
