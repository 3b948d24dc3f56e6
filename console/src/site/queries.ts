import { queryOptions, useQuery } from "@tanstack/react-query";
import type { Answer } from "../api/answers";
import { answer, api } from "../api/client";
import type { Display } from "../kit/money";
import { shown } from "../kit/money";

export type Site = Answer<"/api/site", "get">;

/** What anybody may know of this site: its name, who may register, and under which terms. */
export const siteQuery = queryOptions({
  queryKey: ["site"],
  queryFn: () => answer(api.GET("/api/site")),
  staleTime: 60_000,
});

const CNY: Display = { symbol: "¥", factor: "1" };

/** Shows amounts as this site does. digits: 2 for balances, all there are without it. */
export function useMoney(): (cny: string, digits?: number) => string {
  const { data } = useQuery(siteQuery);
  const display = data ? { symbol: data.display.symbol, factor: data.display.credit_factor } : CNY;
  return (cny, digits) => shown(cny, display, digits);
}

/** The address that programs call, as this visitor reaches it. */
export function useBaseUrl(): string {
  const { data } = useQuery(siteQuery);
  return `${(data?.base_url || window.location.origin).replace(/\/$/, "")}/v1`;
}
