// How everything looks. Mantine's greys and light badges fall short of WCAG's contrast of 4.5:1,
// so what is written small is darker here, in both themes.

import {
  type CSSVariablesResolver,
  createTheme,
  type MantineColorSchemeManager,
} from "@mantine/core";
import { keep, kept } from "./stored";

const FONTS =
  'system-ui, -apple-system, "Segoe UI", Roboto, "PingFang SC", "Hiragino Sans GB", ' +
  '"Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", sans-serif';

export const theme = createTheme({
  fontFamily: FONTS,
  fontFamilyMonospace: "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
  headings: { fontFamily: FONTS, fontWeight: "650" },
  defaultRadius: "md",
  primaryColor: "sea",
  primaryShade: { light: 7, dark: 7 },
  autoContrast: true,
  cursorType: "pointer",
  colors: {
    sea: [
      "#eaf2ff",
      "#d3e2fb",
      "#a6c4f5",
      "#75a4f0",
      "#4d89ec",
      "#3477ea",
      "#266de9",
      "#1f5fd6",
      "#1450b0",
      "#0b408f",
    ],
  },
  components: {
    Tooltip: { defaultProps: { withArrow: true, openDelay: 200 } },
    Modal: {
      // What moves while it opens measures its parts wrongly, so it only fades.
      defaultProps: {
        centered: true,
        overlayProps: { blur: 2 },
        transitionProps: { transition: "fade", duration: 120 },
      },
      styles: {
        title: { fontWeight: 650, fontSize: "1.1rem" },
        header: { background: "var(--aipool-surface)" },
        content: { background: "var(--aipool-surface)" },
      },
    },
    Badge: { styles: { root: { maxWidth: "none", overflow: "visible", textTransform: "none" } } },
  },
});

const TINTS = ["gray", "red", "orange", "yellow", "green", "teal", "blue", "sea"] as const;

/** The variables that differ from Mantine's own. */
export const cssVariables: CSSVariablesResolver = (made) => {
  const light: Record<string, string> = {
    "--mantine-color-body": "#f7f8fa",
    "--mantine-color-dimmed": "#545b64",
    "--mantine-color-placeholder": "#656d76",
    "--mantine-color-error": "#c92a2a",
    "--aipool-surface": "#ffffff",
    "--aipool-line": "#e3e6ea",
  };
  const dark: Record<string, string> = {
    "--mantine-color-body": "#1a1b1e",
    "--mantine-color-dimmed": "#b4b7bd",
    "--mantine-color-placeholder": "#a0a4ab",
    "--mantine-color-error": "#ff8787",
    "--mantine-color-anchor": "#8ab4f8",
    "--aipool-surface": "#232428",
    "--aipool-line": "#383a40",
  };
  for (const name of TINTS) {
    const shades = made.colors[name];
    if (shades) {
      const tint = `--mantine-color-${name}-light`;
      light[`${tint}-color`] = `color-mix(in srgb, ${shades[9]} 78%, black)`;
      dark[`${tint}-color`] = `color-mix(in srgb, ${shades[3]} 80%, white)`;
    }
  }
  return { variables: {}, light, dark };
};

/** The theme that was chosen, where start.js finds it before the first paint. */
export const colorSchemes: MantineColorSchemeManager = {
  get: (otherwise) => {
    const name = kept("theme");
    return name === "light" || name === "dark" || name === "auto" ? name : otherwise;
  },
  set: (name) => keep("theme", name),
  subscribe: () => undefined,
  unsubscribe: () => undefined,
  clear: () => keep("theme", "auto"),
};
