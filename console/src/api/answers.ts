// The shapes that the server answers and takes, named by what is asked: its own names for them
// may change.

import type { paths } from "./schema.gen";

type Json<Holder> = Holder extends { content: { "application/json": infer Body } } ? Body : never;
type Method = "get" | "post" | "patch" | "put" | "delete";

/** What is answered when all went well. */
export type Answer<Path extends keyof paths, By extends Method> = paths[Path][By] extends {
  responses: infer Responses;
}
  ? Json<Responses[keyof Responses & (200 | 201)]>
  : never;

/** What is sent. */
export type Body<Path extends keyof paths, By extends Method> = paths[Path][By] extends {
  requestBody?: infer Sent;
}
  ? Json<NonNullable<Sent>>
  : never;
