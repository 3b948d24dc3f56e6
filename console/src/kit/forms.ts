// What the server did not accept of a form stands at the field that it is about.

import type { UseFormReturnType } from "@mantine/form";
import { Problem } from "../api/client";

/** What is folded away is drawn after so many frames at most. */
const FRAMES_MAX = 30;

/** Brings the first of the fields that are wrong into sight, ready to be typed in. */
export function showWrong<Values extends object>(
  form: UseFormReturnType<Values>,
  wrong: readonly string[],
): void {
  function show(frames: number) {
    const [first] = wrong
      .map((name) => form.getInputNode(name))
      .filter((node) => node !== null)
      .sort((one, other) =>
        one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1,
      );
    // Not drawn yet, because what it is in opens for it.
    if (first?.offsetParent === null && frames > 0) {
      requestAnimationFrame(() => show(frames - 1));
    } else {
      first?.focus({ preventScroll: true });
      first?.scrollIntoView({ block: "center" });
    }
  }
  requestAnimationFrame(() => show(FRAMES_MAX));
}

/** Puts the server's words to the fields; gives what belongs to no field of this form. */
export function refusedFields<Values extends object>(
  form: UseFormReturnType<Values>,
  error: unknown,
  fields: readonly (keyof Values & string)[],
): unknown {
  if (!(error instanceof Problem)) {
    return error;
  }
  const placed: string[] = [];
  for (const { field, detail } of error.fields) {
    // "ips.3" is about the field ips.
    const name = fields.find((one) => field === one || field.startsWith(`${one}.`));
    if (name !== undefined) {
      form.setFieldError(name, detail);
      placed.push(name);
    }
  }
  showWrong(form, placed);
  return placed.length > 0 && placed.length === error.fields.length ? null : error;
}
