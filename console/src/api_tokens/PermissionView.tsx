import { Alert, Badge, Group, Stack, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { here } from "../kit/times";
import { useMoney } from "../site/queries";
import { COUNTS } from "./form";
import type { Permission } from "./queries";

const NAMED_MAX = 60;

/** Why nothing can be called: what this console has words for. */
const REASONS = [
  "account_frozen",
  "token_disabled",
  "group_not_granted",
  "token_expired",
  "limit_exhausted",
  "balance_empty",
  "no_models",
] as const;
const isReason = (code: string): code is (typeof REASONS)[number] =>
  REASONS.some((reason) => reason === code);

interface PermissionViewProps {
  permission: Permission;
  /** With the models and the limits by name. */
  whole?: boolean;
}

/** What a token, or one that is being thought about, can do: how many models, at which price,
 * for how much and how long; and if it can do nothing, why. */
export function PermissionView({ permission, whole = false }: PermissionViewProps) {
  const { t, i18n } = useTranslation("api_tokens");
  const money = useMoney();
  const { models, group, remaining, expires_at, reasons, models_in_vain } = permission;
  const sentence = t("permission.sentence", {
    count: models.length,
    group: group?.name ?? "–",
    multiplier: group?.multiplier ?? "1",
  });
  const amount =
    remaining === null
      ? t("permission.balanceOnly", { balance: money(permission.balance, 2) })
      : t("permission.amount", {
          remaining: money(remaining, 2),
          balance: money(permission.balance, 2),
        });
  const until = expires_at
    ? t("permission.until", { when: here(expires_at, i18n.language) })
    : t("permission.forever");
  return (
    <Stack gap="sm">
      <Alert role="note" color={permission.callable ? "teal" : "orange"} title={sentence}>
        <Text size="sm">
          {amount} {until}
        </Text>
        {reasons.map((reason) => (
          <Text key={reason.code} size="sm" fw={600}>
            {t("permission.but")}{" "}
            {isReason(reason.code) ? t(`permission.reason.${reason.code}`) : reason.detail}
          </Text>
        ))}
        {models_in_vain.length > 0 && (
          <Text size="sm">
            {t("permission.inVain", { models: models_in_vain.map(({ name }) => name).join(", ") })}
          </Text>
        )}
      </Alert>
      {whole && (
        <>
          <Group gap={6}>
            {models.slice(0, NAMED_MAX).map(({ name }) => (
              <Badge key={name} variant="light" color="gray" tt="none">
                {name}
              </Badge>
            ))}
            {models.length > NAMED_MAX && <Text size="sm">+{models.length - NAMED_MAX}</Text>}
          </Group>
          <Text size="sm">
            {permission.ips.length > 0
              ? t("permission.ips", { ips: permission.ips.join(", ") })
              : t("permission.anyIp")}
          </Text>
          {permission.call_limits
            .filter((limits) => COUNTS.some((name) => limits[name] !== null))
            .map((limits) => (
              <Text key={limits.shared_by} size="sm">
                {t(`permission.shared.${limits.shared_by}`)}{" "}
                {[
                  limits.rpm && `${limits.rpm} RPM`,
                  limits.tpm && `${limits.tpm} TPM`,
                  limits.requests_per_day &&
                    t("permission.daily", { count: limits.requests_per_day }),
                  limits.concurrency && t("permission.parallel", { count: limits.concurrency }),
                ]
                  .filter(Boolean)
                  .join(" · ")}
              </Text>
            ))}
        </>
      )}
    </Stack>
  );
}
