// The two languages. Each feature has its words beside it, in en.json and zh-CN.json; a language
// is one file of the build, loaded before the first page is drawn.

import i18next from "i18next";
import { initReactI18next } from "react-i18next";
import { keep } from "./stored";
import type { Words } from "./words.en";

export const LANGUAGES = { "zh-CN": "简体中文", en: "English" } as const;
export type Language = keyof typeof LANGUAGES;

declare module "i18next" {
  interface CustomTypeOptions {
    defaultNS: "kit";
    resources: Words;
  }
}

const load: Record<Language, () => Promise<{ words: object }>> = {
  en: () => import("./words.en"),
  "zh-CN": () => import("./words.zh-CN"),
};

async function withWords(language: Language): Promise<void> {
  if (i18next.hasResourceBundle(language, "kit")) {
    return;
  }
  const { words } = await load[language]();
  for (const [namespace, bundle] of Object.entries(words)) {
    i18next.addResourceBundle(language, namespace, bundle);
  }
}

/** Gets the words ready, in the language that start.js chose. */
export async function startLanguages(): Promise<void> {
  const language: Language = document.documentElement.lang === "zh-CN" ? "zh-CN" : "en";
  await i18next.use(initReactI18next).init({
    lng: language,
    fallbackLng: false,
    defaultNS: "kit",
    interpolation: { escapeValue: false },
    resources: {},
  });
  await withWords(language);
}

/** Speaks another language from here on, without a reload. */
export async function speak(language: Language): Promise<void> {
  await withWords(language);
  document.documentElement.lang = language;
  keep("language", language);
  await i18next.changeLanguage(language);
}
