// What is looked for stands in the address, so that it can be sent to a colleague.

import type { Order } from "../kit/DataTable";

export const STATUSES = [
  "active",
  "disabled",
  "expired",
  "exhausted",
  "group_not_granted",
] as const;
const SORTS = ["created", "name", "expires", "limit", "used", "used_total", "remaining"] as const;

export interface TokenSearch {
  q?: string;
  status?: (typeof STATUSES)[number];
  group?: number;
  sort?: (typeof SORTS)[number];
  order?: "asc" | "desc";
  /** Opens the form for a new token. */
  create?: boolean;
}

/** What of an address is understood; the rest is dropped. */
export function tokenSearch(given: Record<string, unknown>): TokenSearch {
  const found: TokenSearch = {};
  if (typeof given.q === "string" || typeof given.q === "number") {
    found.q = String(given.q).slice(0, 100);
  }
  found.status = STATUSES.find((one) => one === given.status);
  found.sort = SORTS.find((one) => one === given.sort);
  if (Number.isSafeInteger(given.group) && Number(given.group) > 0) {
    found.group = Number(given.group);
  }
  if (given.order === "asc" || given.order === "desc") {
    found.order = given.order;
  }
  if (given.create === true) {
    found.create = true;
  }
  return found;
}

export function orderOf(search: TokenSearch): Order {
  return { by: search.sort ?? "created", descending: search.order !== "asc" };
}

export function withOrder(order: Order): Pick<TokenSearch, "sort" | "order"> {
  return { sort: SORTS.find((one) => one === order.by), order: order.descending ? "desc" : "asc" };
}
