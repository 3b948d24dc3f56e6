// How the console is built. The server serves what lies in dist/ (src/aipool/control/console.py):
// files under /console/assets/ carry a digest in their name and are kept for ever.

import { env } from "node:process";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` beside a running platform: pages from here, everything else from there.
const platform = env.AIPOOL_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "/console/",
  plugins: [react()],
  build: {
    target: "es2022",
    // Nothing inline: the pages' policy allows no script but files of this address.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    manifest: true,
  },
  server: { proxy: { "/api": platform, "/v1": platform } },
});
