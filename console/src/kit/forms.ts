// What the server did not accept of a form stands at the field that it is about.

import type { UseFormReturnType } from "@mantine/form";
import { Problem } from "../api/client";

/** Puts the server's words to the fields; gives what belongs to no field of this form. */
export function refusedFields<Values extends object>(
  form: UseFormReturnType<Values>,
  error: unknown,
  fields: readonly (keyof Values & string)[],
): unknown {
  if (!(error instanceof Problem)) {
    return error;
  }
  let placed = 0;
  for (const { field, detail } of error.fields) {
    // "ips.3" is about the field ips.
    const name = fields.find((one) => field === one || field.startsWith(`${one}.`));
    if (name !== undefined) {
      form.setFieldError(name, detail);
      placed += 1;
    }
  }
  return placed > 0 && placed === error.fields.length ? null : error;
}
