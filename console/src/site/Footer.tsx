import { Anchor, Group, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { siteQuery } from "./queries";

/** Terms, contact, and the number that a site in mainland China must show. */
export function Footer() {
  const { t } = useTranslation("site");
  const { data } = useQuery(siteQuery);
  if (!data) {
    return null;
  }
  return (
    <Group component="footer" justify="center" gap="lg" p="md">
      {data.terms_version && (
        <Anchor href="/terms" size="sm" c="dimmed">
          {t("terms")}
        </Anchor>
      )}
      {data.privacy_version && (
        <Anchor href="/privacy" size="sm" c="dimmed">
          {t("privacy")}
        </Anchor>
      )}
      {data.contact && (
        <Text size="sm" c="dimmed">
          {t("contact", { contact: data.contact })}
        </Text>
      )}
      {data.icp_number && (
        <Text size="sm" c="dimmed">
          {data.icp_number}
        </Text>
      )}
    </Group>
  );
}
