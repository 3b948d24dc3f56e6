import { Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { siteQuery } from "./queries";

/** The heading of a page, which is also what the window is called: of many tabs one is found by it,
 * and screen readers say it first. */
export function PageTitle({ children }: { children: string }) {
  const { data } = useQuery(siteQuery);
  const name = data?.name ?? "AI-POOL";

  useEffect(() => {
    document.title = `${children} · ${name}`;
    return () => {
      document.title = name;
    };
  }, [children, name]);

  return (
    <Title order={1} size="h2">
      {children}
    </Title>
  );
}
