// What the server said, kept for a while. Asked again when somebody returns to the tab, because
// balances and tokens change while nobody looks.

import { QueryClient } from "@tanstack/react-query";
import { Problem } from "../api/client";

const TRIES_MAX = 2;

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 10_000,
      // What was refused is refused again; what was not reached may be there in a moment.
      retry: (tries, error) =>
        tries < TRIES_MAX && (!(error instanceof Problem) || error.status >= 502 || !error.status),
    },
  },
});
