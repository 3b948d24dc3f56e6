// What this browser remembers. A browser that remembers nothing (private windows) works too.

/** What was kept under a name, "" = nothing. */
export function kept(name: string): string {
  try {
    return localStorage.getItem(`aipool.${name}`) ?? "";
  } catch {
    return "";
  }
}

/** Keeps it for the next visit. */
export function keep(name: string, value: string): void {
  try {
    localStorage.setItem(`aipool.${name}`, value);
  } catch {
    // Not remembered, and nothing else is lost.
  }
}
