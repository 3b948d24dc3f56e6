// Runs before the first paint, so that no page flashes in the wrong theme or language.
// A file of its own and not a line in the page: the pages' policy allows no inline script.
(() => {
  const kept = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  };
  const theme = kept("aipool.theme") ?? "auto";
  const dark =
    theme === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : theme === "dark";
  const page = document.documentElement;
  page.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
  const language = kept("aipool.language") ?? (/^zh\b/i.test(navigator.language) ? "zh-CN" : "en");
  page.lang = language === "zh-CN" ? "zh-CN" : "en";
  page.style.background = dark ? "#1a1b1e" : "#f7f8fa";
})();
