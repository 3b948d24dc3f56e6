// What the server wants of somebody before anything else.

import type { Me } from "./queries";

/** A longer password, a second factor, a number, or agreement to terms that are newer. */
export const DEMANDS = [
  "password_needed",
  "totp_set_up_needed",
  "phone_needed",
  "terms_needed",
] as const;
export type Demand = (typeof DEMANDS)[number];

/** The first of what is wanted; null = nothing is. */
export function demandOf(me: Me | undefined): Demand | null {
  const must = DEMANDS.find((one) => one === me?.must);
  return must ?? (me?.agree_needed ? "terms_needed" : null);
}
