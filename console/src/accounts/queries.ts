import { queryOptions } from "@tanstack/react-query";
import type { Answer, Body } from "../api/answers";
import { answer, api } from "../api/client";
import type { Language } from "../kit/languages";
import { queries } from "../kit/queries";

export type Me = Answer<"/api/me", "get">;

/** Who is logged in; a Problem of status 401 when nobody is. */
export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: () => answer(api.GET("/api/me")),
});

export const accessTokensQuery = queryOptions({
  queryKey: ["me", "access-tokens"],
  queryFn: () => answer(api.GET("/api/me/access-tokens")),
});

export const sessionsQuery = queryOptions({
  queryKey: ["me", "sessions"],
  queryFn: () => answer(api.GET("/api/me/sessions")),
});

/** Somebody else is there now: nothing of who was there before stays. */
export async function someoneCame(): Promise<void> {
  forgetPerson();
  await queries.ensureQueryData(meQuery);
}

export async function logout(): Promise<void> {
  await api.POST("/api/auth/logout").catch(() => undefined);
  forgetPerson();
}

/** Nobody is there any more. */
export function forgetPerson(): void {
  queries.removeQueries({ predicate: (query) => query.queryKey[0] !== "site" });
}

/** Changes what is sent of oneself; the pages show it at once. */
export async function changeMe(body: Body<"/api/me", "patch">): Promise<void> {
  queries.setQueryData(meQuery.queryKey, await answer(api.PATCH("/api/me", { body })));
}

/** The language of letters follows that of the pages. */
export function rememberLanguage(language: Language): void {
  // The page speaks it already; letters will when the server can be reached again.
  changeMe({ locale: language }).catch(() => undefined);
}
