// What is done with many tokens at once, and what of it is told.

import type { TFunction } from "i18next";
import { notices } from "../kit/notices";
import { changeMany, type Token } from "./queries";

/** More names than this are counted. */
const NAMED_MAX = 20;

/** Says how many were changed, and which were not and why; done: the words for the first. Raises
 * what the server says when it does nothing at all. */
export async function changeAndTell(
  t: TFunction<"api_tokens">,
  tokens: Token[],
  action: "enable" | "disable" | "delete",
  done: (count: number) => string,
): Promise<void> {
  const results = await changeMany(
    tokens.map((token) => token.id),
    action,
  );
  const names = new Map(tokens.map((token) => [token.id, token.name]));
  const refused = new Map<string, string[]>();
  for (const { id, ok, detail, code } of results) {
    if (!ok) {
      const why = detail || code || "";
      refused.set(why, [...(refused.get(why) ?? []), names.get(id) ?? String(id)]);
    }
  }
  const count = results.filter((result) => result.ok).length;
  if (count > 0) {
    notices.done(done(count));
  }
  for (const [why, some] of refused) {
    const named = some.slice(0, NAMED_MAX).join(", ");
    const more = some.length > NAMED_MAX ? ` … +${some.length - NAMED_MAX}` : "";
    notices.refused(t("bulk.refused", { count: some.length, why }), named + more);
  }
}
