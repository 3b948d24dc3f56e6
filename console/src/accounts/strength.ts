// A hint about a password while it is typed. The server's own rules (accounts/rules.py) decide;
// this counts the same bits of chance, only it does not know the list of common passwords.

export const STRENGTHS = ["weak", "fair", "good", "strong"] as const;
export type Strength = (typeof STRENGTHS)[number];

const BITS: [number, Strength][] = [
  [70, "strong"],
  [50, "good"],
  [35, "fair"],
];
const CLASSES: [RegExp, number][] = [
  [/[a-z]/, 26],
  [/[A-Z]/, 26],
  [/[0-9]/, 10],
  [/[ -/:-@[-`{-~]/, 33],
  // Beyond ASCII: the common part of any one script.
  [/[^ -~]/, 200],
];

/** How long it would stand against somebody who has its hash. */
export function strengthOf(password: string): Strength {
  const marks = [...password];
  const choices = CLASSES.reduce((sum, [is, size]) => sum + (is.test(password) ? size : 0), 0);
  const told = marks.reduce((sum, mark, index) => {
    const before = marks[index - 1]?.codePointAt(0) ?? -9;
    return sum + (Math.abs((mark.codePointAt(0) ?? 0) - before) > 1 ? 1 : 0.25);
  }, 0);
  const bits = Math.min(told, 1.5 * new Set(marks).size) * Math.log2(Math.max(choices, 2));
  return BITS.find(([least]) => bits >= least)?.[1] ?? "weak";
}
