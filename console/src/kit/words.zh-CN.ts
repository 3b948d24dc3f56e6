import accounts from "../accounts/zh-CN.json";
import api_tokens from "../api_tokens/zh-CN.json";
import shell from "../shell/zh-CN.json";
import site from "../site/zh-CN.json";
import type { Said, Words } from "./words.en";
import kit from "./zh-CN.json";

export const words: Said<Words> = { kit, accounts, api_tokens, shell, site };
