import i18next from "i18next";
import { Problem } from "../api/client";

/** What browsers say where a part of the pages did not come. */
const NOT_LOADED = /preload|imported module|module script/i;

/** What went wrong in words for a person. */
export function problemText(error: unknown): string {
  if (!(error instanceof Problem)) {
    const isAway = error instanceof Error && NOT_LOADED.test(error.message);
    return i18next.t(isAway ? "problem.unreachable" : "problem.unexpected");
  }
  if (error.code === "unreachable") {
    return i18next.t("problem.unreachable");
  }
  if (error.code === "login_needed") {
    return i18next.t("problem.loggedOut");
  }
  // Not the server's own words: a proxy says in between that nobody is behind it.
  if (error.code.startsWith("http_5")) {
    return i18next.t("problem.unavailable");
  }
  return error.detail || i18next.t("problem.unexpected");
}
