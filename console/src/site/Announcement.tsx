import { Alert } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { siteQuery } from "./queries";

/** What the operator tells everybody. */
export function Announcement() {
  const { data } = useQuery(siteQuery);
  if (!data?.announcement) {
    return null;
  }
  return (
    <Alert color="sea" mb="md" style={{ whiteSpace: "pre-wrap" }}>
      {data.announcement}
    </Alert>
  );
}
