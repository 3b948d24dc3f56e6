import { Badge, Tooltip } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { Token } from "./queries";

const COLORS = {
  active: "green",
  disabled: "gray",
  expired: "orange",
  exhausted: "red",
  group_not_granted: "red",
} as const;

/** Whether it can be called with, and if not, why. */
export function StatusBadge({ status }: { status: Token["status"] }) {
  const { t } = useTranslation("api_tokens");
  return (
    <Tooltip label={t(`statusHint.${status}`)} multiline maw={280}>
      <Badge variant="light" color={COLORS[status]} tt="none" style={{ flexShrink: 0 }}>
        {t(`status.${status}`)}
      </Badge>
    </Tooltip>
  );
}
