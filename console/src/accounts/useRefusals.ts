import { useNavigate } from "@tanstack/react-router";
import { useEffect } from "react";
import { Problem } from "../api/client";
import { queries } from "../kit/queries";
import { DEMANDS } from "./demands";
import { forgetPerson, meQuery } from "./queries";

/** What the server refuses while somebody is at work: the session was ended elsewhere, which leads
 * to the login and back here; or something is wanted of them first, which is then asked. */
export function useRefusals(): void {
  const navigate = useNavigate();
  useEffect(
    () =>
      queries.getQueryCache().subscribe((event) => {
        if (event.type !== "updated" || event.action.type !== "error") {
          return;
        }
        const { error } = event.action;
        if (!(error instanceof Problem)) {
          return;
        }
        if (error.status === 401) {
          const next = window.location.pathname + window.location.search;
          void navigate({ to: "/login", search: { next }, replace: true }).then(() => {
            // What is open may keep the page (useStay), and then somebody is still there.
            if (window.location.pathname === "/login") {
              forgetPerson();
            }
          });
        } else if (DEMANDS.some((demand) => demand === error.code)) {
          void queries.invalidateQueries({ queryKey: meQuery.queryKey });
        }
      }),
    [navigate],
  );
}
