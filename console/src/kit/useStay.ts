import { useBlocker } from "@tanstack/react-router";
import { useCallback, useEffect, useRef } from "react";

/** Asked when somebody, or the page itself, is about to go elsewhere while something is open that
 * would be lost: with the back button, by a link, to the login.  stays: told where to; says whether
 * they stay.  warns: the browser asks too, before the window is closed or loaded again. */
export function useStay(stays: (to: string) => boolean, warns: boolean): void {
  const ask = useRef(stays);
  useEffect(() => {
    ask.current = stays;
  });
  useBlocker({
    shouldBlockFn: useCallback(({ current, next, action }) => {
      // What is looked for changed, and the page is the same.
      const isHere = action === "REPLACE" && current.pathname === next.pathname;
      return !isHere && ask.current(next.pathname);
    }, []),
    enableBeforeUnload: warns,
  });
}
