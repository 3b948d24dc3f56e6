// The entries of the left navigation, in their order. A new page is a line here and one in
// router.tsx.

import { IconGauge, IconKey, IconUserCircle } from "@tabler/icons-react";

export const NAVIGATION = [
  { to: "/console", exact: true, label: "nav.overview", icon: IconGauge },
  { to: "/console/tokens", exact: false, label: "nav.tokens", icon: IconKey },
  { to: "/console/account", exact: false, label: "nav.account", icon: IconUserCircle },
] as const;
