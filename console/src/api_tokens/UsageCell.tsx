import { Progress, Stack, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { nanoOf, percentOf } from "../kit/money";
import { Moment } from "../kit/times";
import { Amount } from "../site/Amount";
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

/** The one of two limits that is reached first; null = there is none. */
function smaller(one: string | null, other: string | null): string | null {
  if (one === null || other === null) {
    return one ?? other;
  }
  return (nanoOf(one) ?? 0n) <= (nanoOf(other) ?? 0n) ? one : other;
}

/** What a token used of its limit and in all, what is left, and when the limit begins anew. */
export function UsageCell({ token }: { token: Token }) {
  const { t } = useTranslation("api_tokens");
  const money = useMoney();
  const limit = smaller(token.limit, token.total_limit);
  if (limit === null) {
    return (
      <Stack gap={2}>
        <Text size="sm" component="div">
          {t("usage.used")} <Amount cny={token.used_total} />
        </Text>
        <Text size="xs" c="dimmed">
          {t("usage.unlimited")}
        </Text>
      </Stack>
    );
  }
  const left = token.remaining ?? "0";
  const percent = percentOf(left, limit);
  return (
    <Stack gap={4} miw={130}>
      <Text size="sm" component="div">
        {t("usage.left")} <Amount cny={left} /> / <Amount cny={limit} />
      </Text>
      <Progress
        value={percent}
        color={colorOf(percent)}
        size="sm"
        aria-label={`${t("usage.left")} ${money(left, 2)} / ${money(limit, 2)}`}
      />
      <Text size="xs" c="dimmed" component="div">
        {t("usage.used")} <Amount cny={token.used} />
        {token.limit !== null && (
          <>
            {` · ${t(`reset.${token.reset}`)} · `}
            <span style={{ whiteSpace: "nowrap" }}>
              {t("usage.total")} <Amount cny={token.used_total} />
              {token.total_limit !== null && (
                <>
                  {" / "}
                  <Amount cny={token.total_limit} />
                </>
              )}
            </span>
          </>
        )}
      </Text>
      {token.resets_at && (
        <Text size="xs" c="dimmed" component="div">
          {t("usage.resets")} <Moment at={token.resets_at} withUtc />
        </Text>
      )}
    </Stack>
  );
}
