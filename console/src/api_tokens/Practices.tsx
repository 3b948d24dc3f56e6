import { List, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";

const PRACTICES = ["name", "project", "limit", "rotate", "tidy", "least", "balance"] as const;

/** What has proved to be good practice with tokens. */
export function Practices() {
  const { t } = useTranslation("api_tokens");
  return (
    <details className="aipool-card" style={{ padding: "14px 20px" }}>
      <summary style={{ cursor: "pointer", fontWeight: 600 }}>{t("practice.title")}</summary>
      <List size="sm" mt="sm" spacing={6}>
        {PRACTICES.map((practice) => (
          <List.Item key={practice}>
            <Text size="sm">{t(`practice.${practice}`)}</Text>
          </List.Item>
        ))}
      </List>
    </details>
  );
}
