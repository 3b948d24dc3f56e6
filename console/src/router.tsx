// Every page on one page. What is behind a login asks who is there before it is drawn; each page
// is a file of the build of its own, loaded when somebody goes there.

import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from "@tanstack/react-router";
import { meQuery } from "./accounts/queries";
import { Problem } from "./api/client";
import { tokenSearch } from "./api_tokens/search";
import { queries } from "./kit/queries";
import { Failed } from "./shell/Failed";
import { NotThere } from "./shell/NotThere";
import { PublicFrame } from "./shell/PublicFrame";

const root = createRootRoute({ component: Outlet, notFoundComponent: NotThere });

// --- for everybody ---------------------------------------------------------------------------

const publicFrame = createRoute({
  getParentRoute: () => root,
  id: "public",
  component: PublicFrame,
});

/** Where to after the login: only pages of this site. */
function nextSearch(search: Record<string, unknown>): { next?: string } {
  const { next } = search;
  return typeof next === "string" && /^\/console(\/|$|\?)/.test(next) ? { next } : {};
}

const login = createRoute({
  getParentRoute: () => publicFrame,
  path: "/login",
  validateSearch: nextSearch,
  component: lazyRouteComponent(() => import("./accounts/LoginPage"), "LoginPage"),
});

const register = createRoute({
  getParentRoute: () => publicFrame,
  path: "/register",
  validateSearch: (search: Record<string, unknown>): { invitation?: string } =>
    typeof search.invitation === "string" ? { invitation: search.invitation } : {},
  component: lazyRouteComponent(() => import("./accounts/RegisterPage"), "RegisterPage"),
});

const reset = createRoute({
  getParentRoute: () => publicFrame,
  path: "/reset",
  component: lazyRouteComponent(() => import("./accounts/ResetPage"), "ResetPage"),
});

// --- for who is logged in --------------------------------------------------------------------

const console = createRoute({
  getParentRoute: () => root,
  path: "/console",
  component: lazyRouteComponent(() => import("./shell/Shell"), "Shell"),
  errorComponent: Failed,
  beforeLoad: async ({ location }) => {
    try {
      await queries.ensureQueryData(meQuery);
    } catch (error) {
      if (error instanceof Problem && error.status === 401) {
        throw redirect({ to: "/login", search: { next: location.href } });
      }
      throw error;
    }
  },
});

const overview = createRoute({
  getParentRoute: () => console,
  path: "/",
  component: lazyRouteComponent(() => import("./accounts/OverviewPage"), "OverviewPage"),
});

const tokens = createRoute({
  getParentRoute: () => console,
  path: "/tokens",
  validateSearch: tokenSearch,
  component: lazyRouteComponent(() => import("./api_tokens/TokensPage"), "TokensPage"),
});

const account = createRoute({
  getParentRoute: () => console,
  path: "/account",
  component: lazyRouteComponent(() => import("./accounts/AccountPage"), "AccountPage"),
});

export const router = createRouter({
  routeTree: root.addChildren([
    publicFrame.addChildren([login, register, reset]),
    console.addChildren([overview, tokens, account]),
  ]),
  defaultPreload: "intent",
  defaultErrorComponent: Failed,
  defaultNotFoundComponent: NotThere,
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
