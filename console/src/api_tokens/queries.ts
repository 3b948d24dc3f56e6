import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import type { Answer, Body } from "../api/answers";
import { answer, api, Problem } from "../api/client";
import { queries } from "../kit/queries";
import type { TokenSearch } from "./search";

export type Token = Answer<"/api/tokens/{token_id}", "get">;
export type TokenMade = Answer<"/api/tokens", "post">;
export type Terms = Body<"/api/tokens/preview", "post">;
export type Permission = Answer<"/api/tokens/preview", "post">;
export type Group = Answer<"/api/groups", "get">["items"][number];

const PAGE = 50;
/** The server searches for two characters or more. */
const SEARCH_MIN = 2;
/** More than this many pages of models are not offered by name. */
const MODEL_PAGES_MAX = 20;

/** The tokens that are looked for, page by page. */
export function tokensQuery({ q, status, group, sort, order }: TokenSearch) {
  const text = q && q.trim().length >= SEARCH_MIN ? q.trim() : undefined;
  const asked = {
    q: text,
    status,
    group,
    sort: sort ?? "created",
    order: order ?? "desc",
  } as const;
  return infiniteQueryOptions({
    queryKey: ["tokens", asked],
    queryFn: ({ pageParam }) =>
      answer(
        api.GET("/api/tokens", {
          params: { query: { ...asked, limit: PAGE, cursor: pageParam ?? undefined } },
        }),
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
  });
}

/** How many tokens there are, and whether one was called with lately. */
export const tokensSummaryQuery = queryOptions({
  queryKey: ["tokens", "summary"],
  queryFn: () => answer(api.GET("/api/tokens", { params: { query: { limit: 20 } } })),
});

/** The groups that the caller may choose. */
export const groupsQuery = queryOptions({
  queryKey: ["groups"],
  queryFn: () => answer(api.GET("/api/groups")),
});

/** The names of all models on sale in a group. */
export function modelsQuery(group: number | undefined) {
  return queryOptions({
    queryKey: ["models", "names", group],
    queryFn: async () => {
      const names: string[] = [];
      let cursor: string | undefined;
      for (let page = 0; page < MODEL_PAGES_MAX; page += 1) {
        const query = { group, limit: 100, cursor };
        const got = await answer(api.GET("/api/models", { params: { query } }));
        names.push(...got.items.map((model) => model.name));
        if (!got.next_cursor) {
          break;
        }
        cursor = got.next_cursor;
      }
      return names;
    },
    staleTime: 60_000,
  });
}

/** The names of models of a group that chat; the first hundred are enough for an example. */
export function chatModelsQuery(group: number | undefined) {
  return queryOptions({
    queryKey: ["models", "chat", group],
    queryFn: async () => {
      const query = { group, kind: "chat", limit: 100 } as const;
      const got = await answer(api.GET("/api/models", { params: { query } }));
      return got.items.map((model) => model.name);
    },
    staleTime: 60_000,
  });
}

export function permissionQuery(id: number) {
  return queryOptions({
    queryKey: ["tokens", "permission", id],
    queryFn: () =>
      answer(api.GET("/api/tokens/{token_id}/preview", { params: { path: { token_id: id } } })),
  });
}

/** Something about tokens changed. */
export function tokensChanged(): Promise<void> {
  return queries.invalidateQueries({ queryKey: ["tokens"] });
}

const one = (id: number) => ({ params: { path: { token_id: id } } });

/** What was made or changed. An answer of 202 has it too, beside who does not act on it yet. */
const made = <T>(asked: Promise<{ data?: unknown }>) => answer(asked as Promise<{ data?: T }>);

export const createToken = (body: Body<"/api/tokens", "post">) =>
  made<TokenMade>(api.POST("/api/tokens", { body }));

export const changeToken = (id: number, body: Body<"/api/tokens/{token_id}", "patch">) =>
  api.PATCH("/api/tokens/{token_id}", { ...one(id), body });

export const deleteToken = (id: number) => api.DELETE("/api/tokens/{token_id}", one(id));

export const rotateToken = (id: number, grace_seconds: number) =>
  made<TokenMade>(
    api.POST("/api/tokens/{token_id}/rotate", { ...one(id), body: { grace_seconds } }),
  );

export const switchToken = (id: number, enabled: boolean) =>
  enabled
    ? api.POST("/api/tokens/{token_id}/enable", one(id))
    : api.POST("/api/tokens/{token_id}/disable", one(id));

type Results = Answer<"/api/tokens/bulk", "post">["results"];

/** The server changes so many at once. */
const BULK_MAX = 100;

/** Changes all of them, a hundred at a time; what became of each. What cannot be asked any more,
 * because the server is gone or wants a pause, is a refusal like others once something was done. */
export async function changeMany(
  ids: number[],
  action: "enable" | "disable" | "delete",
): Promise<Results> {
  const results: Results = [];
  while (results.length < ids.length) {
    const some = ids.slice(results.length, results.length + BULK_MAX);
    try {
      const asked = api.POST("/api/tokens/bulk", { body: { ids: some, action } });
      results.push(...(await made<{ results: Results }>(asked)).results);
    } catch (error) {
      if (!(error instanceof Problem) || results.length === 0) {
        throw error;
      }
      const refusal = { ok: false, code: error.code, detail: error.detail || error.code };
      results.push(...ids.slice(results.length).map((id) => ({ id, ...refusal })));
    }
  }
  return results;
}

export const previewTerms = (body: Terms) => answer(api.POST("/api/tokens/preview", { body }));

/** Switches it on the page at once; back again when the server refuses. */
export async function switchAtOnce(token: Token, enabled: boolean): Promise<void> {
  type Pages = { pages: { items: Token[] }[] };
  const kept = queries.getQueriesData<Pages>({ queryKey: ["tokens"] });
  for (const [key, data] of kept) {
    if (data?.pages) {
      const pages = data.pages.map((page) => ({
        ...page,
        items: page.items.map((item) => (item.id === token.id ? { ...item, enabled } : item)),
      }));
      queries.setQueryData(key, { ...data, pages });
    }
  }
  try {
    await switchToken(token.id, enabled);
  } catch (error) {
    for (const [key, data] of kept) {
      queries.setQueryData(key, data);
    }
    throw error;
  } finally {
    await tokensChanged();
  }
}
