import accounts from "../accounts/en.json";
import api_tokens from "../api_tokens/en.json";

import shell from "../shell/en.json";
import site from "../site/en.json";
import kit from "./en.json";

export const words = { kit, accounts, api_tokens, shell, site };

/** What must be said in every language. */
export type Words = typeof words;

/** The same in another language; one that has no singular needs none. */
export type Said<Some> = {
  [Key in keyof Some as Key extends `${string}_one` ? never : Key]: Some[Key] extends object
    ? Said<Some[Key]>
    : string;
};
