import { Progress, Stack, Text, Tooltip } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { percentOf } from "../kit/money";
import { Moment } from "../kit/times";
import { useMoney } from "../site/queries";
import type { Token } from "./queries";

/** Below these percentages of what is left the bar warns. */
const LOW_PERCENT = 30;
const LAST_PERCENT = 10;

function colorOf(left: number): string {
  if (left <= LAST_PERCENT) {
    return "red";
  }
  return left <= LOW_PERCENT ? "orange" : "teal";
}

/** What a token used of its limit, what is left, and when the limit begins anew. */
export function UsageCell({ token }: { token: Token }) {
  const { t } = useTranslation("api_tokens");
  const money = useMoney();
  const limit = token.limit ?? token.total_limit;
  if (limit === null) {
    return (
      <Stack gap={2}>
        <Text size="sm">{t("usage.used", { amount: money(token.used, 2) })}</Text>
        <Text size="xs" c="dimmed">
          {t("usage.unlimited")}
        </Text>
      </Stack>
    );
  }
  const left = token.remaining ?? "0";
  const percent = percentOf(left, limit);
  const words = t("usage.left", { left: money(left, 2), limit: money(limit, 2) });
  return (
    <Stack gap={4} miw={140}>
      <Tooltip
        multiline
        maw={320}
        label={t("usage.exact", {
          used: money(token.used),
          left: money(left),
          total: money(token.used_total),
        })}
      >
        <Text size="sm" component="div">
          {words}
        </Text>
      </Tooltip>
      <Progress value={percent} color={colorOf(percent)} size="sm" aria-label={words} />
      <Text size="xs" c="dimmed" component="div">
        {t("usage.used", { amount: money(token.used, 2) })}
        {token.limit !== null && ` · ${t(`reset.${token.reset}`)}`}
        {token.resets_at && (
          <>
            {" · "}
            {t("usage.resets")} <Moment at={token.resets_at} relative />
          </>
        )}
      </Text>
    </Stack>
  );
}
