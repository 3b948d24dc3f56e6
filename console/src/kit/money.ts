// Money is decimal text from the server and decimal text to it; in between it is a whole number
// of nano-yuan (1e-9 CNY). There is no floating point: 0.1 + 0.2 is 0.3 here.

const DIGITS = 9;
const ONE = 10n ** BigInt(DIGITS);

/** What text stands for, in billionths of one; null when it is no decimal number. */
export function nanoOf(text: string): bigint | null {
  const found = /^(-?)(\d{1,12})(?:\.(\d{0,9}))?$/.exec(text.trim());
  if (!found) {
    return null;
  }
  const [, sign = "", whole = "0", part = ""] = found;
  const value = BigInt(whole) * ONE + BigInt(part.padEnd(DIGITS, "0"));
  return sign ? -value : value;
}

/** Billionths as text. digits: so many, rounded down; without it as many as there are. */
export function textOf(nano: bigint, digits?: number): string {
  const sign = nano < 0n ? "-" : "";
  const size = nano < 0n ? -nano : nano;
  const part = (size % ONE).toString().padStart(DIGITS, "0");
  const shown = digits === undefined ? part.replace(/0+$/, "") : part.slice(0, digits);
  return `${sign}${(size / ONE).toString()}${shown ? `.${shown}` : ""}`;
}

/** How a site shows amounts: the symbol, and how many CNY one unit that is shown stands for. */
export interface Display {
  symbol: string;
  factor: string;
}

/** An amount of CNY as people see it. digits: see `textOf`; balances have two, charges all. */
export function shown(cny: string, display: Display, digits?: number): string {
  const nano = nanoOf(cny);
  const factor = nanoOf(display.factor);
  if (nano === null || factor === null || factor <= 0n) {
    return cny;
  }
  const text = textOf((nano * ONE) / factor, digits);
  const [whole = "0", part] = text.replace("-", "").split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return `${text.startsWith("-") ? "−" : ""}${display.symbol}${grouped}${part ? `.${part}` : ""}`;
}

/** How much of the whole this is, in percent from 0 to 100. */
export function percentOf(part: string, whole: string): number {
  const [of, all] = [nanoOf(part) ?? 0n, nanoOf(whole) ?? 0n];
  if (all <= 0n) {
    return 0;
  }
  const percent = Number((of * 1000n) / all) / 10;
  return Math.min(100, Math.max(0, percent));
}
