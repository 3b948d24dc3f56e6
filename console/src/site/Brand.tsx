import { Group, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { siteQuery } from "./queries";

/** The name of the site and its picture. short: on a phone the picture alone. */
export function Brand({ short = false }: { short?: boolean }) {
  const { data } = useQuery(siteQuery);
  const name = data?.name ?? "AI-POOL";

  return (
    <Group gap={10} wrap="nowrap">
      <img src={data?.logo || "/console/icon.svg"} alt="" width={28} height={28} />
      <Text
        visibleFrom={short ? "xs" : undefined}
        fw={700}
        size="lg"
        component="span"
        style={{ whiteSpace: "nowrap" }}
      >
        {name}
      </Text>
    </Group>
  );
}
