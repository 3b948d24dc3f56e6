// A part of the console could not be loaded: its server is away, or another build was put in the
// place of this one, and its parts have other names.

/** Loads the page again where another build is there. Where nobody answers it stays as it is, with
 * all that was typed. */
export async function reloadIfReplaced(): Promise<void> {
  try {
    const answer = await fetch("/console", { cache: "no-store" });
    const mine = document.querySelector<HTMLScriptElement>('script[type="module"]')?.src ?? "";
    if (answer.ok && !(await answer.text()).includes(new URL(mine).pathname)) {
      window.location.reload();
    }
  } catch {
    // Nobody answers.
  }
}
