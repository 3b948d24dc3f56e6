import "./kit/styles";
import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { reloadIfReplaced } from "./kit/build";
import { startLanguages } from "./kit/languages";
import { queries } from "./kit/queries";
import { colorSchemes, cssVariables, theme } from "./kit/theme";
import { router } from "./router";

window.addEventListener("vite:preloadError", () => void reloadIfReplaced());

await startLanguages();
// The first paint is over: what it was drawn on is the page's own colour from here on.
document.documentElement.style.background = "";

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <MantineProvider
        theme={theme}
        cssVariablesResolver={cssVariables}
        colorSchemeManager={colorSchemes}
        defaultColorScheme="auto"
      >
        <QueryClientProvider client={queries}>
          <Notifications position="top-right" />
          <RouterProvider router={router} />
        </QueryClientProvider>
      </MantineProvider>
    </StrictMode>,
  );
}
