import { Badge, Tooltip } from "@mantine/core";
import { useTranslation } from "react-i18next";

/** Says at the token itself that what its calls say is kept, and for how long. */
export function ContentBadge({ days }: { days: number }) {
  const { t } = useTranslation("api_tokens");
  return (
    <Tooltip
      label={t("content.hint", { count: days })}
      multiline
      maw={280}
      events={{ hover: true, focus: true, touch: true }}
    >
      <Badge variant="light" color="blue" tt="none" my={2} w="max-content" tabIndex={0}>
        {t("content.kept", { days })}
      </Badge>
    </Tooltip>
  );
}
