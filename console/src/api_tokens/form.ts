// The form of a token's terms: what is typed, and what is sent of it. Blank means no limit.

import type { UseFormReturnType } from "@mantine/form";
import { type Expiry, fieldOf, sentExpiry } from "./expiry";
import type { Terms, Token } from "./queries";

export interface TokenForm {
  name: string;
  description: string;
  limit: string;
  reset: Token["reset"];
  total_limit: string;
  expiry: Expiry;
  expires_at: string;
  group_id: string;
  models: string[];
  ips: string;
  rpm: string;
  tpm: string;
  concurrency: string;
  requests_per_day: string;
  playground_allowed: boolean;
  content_days: string;
}

export type Form = UseFormReturnType<TokenForm>;

/** What of calls can be limited. */
export const COUNTS = ["rpm", "tpm", "concurrency", "requests_per_day"] as const;

/** As many as the server takes. */
export const NAME_CHARACTERS_MAX = 100;
export const DESCRIPTION_CHARACTERS_MAX = 500;

/** Content is kept for so many days at most. */
export const CONTENT_DAYS_MAX = 30;

const EMPTY: TokenForm = {
  name: "",
  description: "",
  limit: "",
  reset: "none",
  total_limit: "",
  expiry: "never",
  expires_at: "",
  group_id: "",
  models: [],
  ips: "",
  rpm: "",
  tpm: "",
  concurrency: "",
  requests_per_day: "",
  playground_allowed: true,
  content_days: "",
};

/** The form as it is opened: empty, or with a token's terms. */
export function formOf(token: Token | undefined): TokenForm {
  if (!token) {
    return EMPTY;
  }
  const text = (value: number | string | null) => (value === null ? "" : String(value));
  return {
    name: token.name,
    description: token.description,
    limit: text(token.limit),
    reset: token.reset,
    total_limit: text(token.total_limit),
    expiry: token.expires_at ? "custom" : "never",
    expires_at: token.expires_at ? fieldOf(new Date(token.expires_at)) : "",
    group_id: String(token.group.id),
    models: token.models ?? [],
    ips: token.ips.join("\n"),
    rpm: text(token.rpm),
    tpm: text(token.tpm),
    concurrency: text(token.concurrency),
    requests_per_day: text(token.requests_per_day),
    playground_allowed: token.playground_allowed,
    content_days: token.content_days > 0 ? String(token.content_days) : "",
  };
}

/** Everything the form says, as it is sent. token: that is edited; a moment that was not touched
 * is sent back as it came, because the field shows no seconds. */
export function termsOf(form: TokenForm, token?: Token): Terms {
  const count = (text: string) => (text.trim() === "" ? null : Number(text));
  const amount = (text: string) => (text.trim() === "" ? null : text.trim());
  const before = token && formOf(token);
  const isSame = before?.expiry === form.expiry && before.expires_at === form.expires_at;
  return {
    name: form.name.trim(),
    description: form.description.trim(),
    limit: amount(form.limit),
    reset: form.reset,
    total_limit: amount(form.total_limit),
    expires_at: isSame ? token?.expires_at : sentExpiry(form.expiry, form.expires_at),
    group_id: form.group_id ? Number(form.group_id) : null,
    models: form.models.length > 0 ? form.models : null,
    ips: form.ips.split(/[\s,;，；、]+/).filter(Boolean),
    rpm: count(form.rpm),
    tpm: count(form.tpm),
    concurrency: count(form.concurrency),
    requests_per_day: count(form.requests_per_day),
    playground_allowed: form.playground_allowed,
    content_days: count(form.content_days) ?? 0,
  };
}

/** The fields that the server may speak of. */
export const FIELDS = Object.keys(EMPTY) as (keyof TokenForm)[];
