import {
  Group,
  PasswordInput,
  type PasswordInputProps,
  Progress,
  Stack,
  Text,
} from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useId } from "react";
import { useTranslation } from "react-i18next";
import { siteQuery } from "../site/queries";
import { STRENGTHS, strengthOf } from "./strength";

const COLORS = { weak: "red", fair: "orange", good: "teal", strong: "green" } as const;

interface NewPasswordFieldProps extends PasswordInputProps {
  value?: string;
  /** Whose it is may change more than what is their own. */
  ofOperator?: boolean;
}

/** A password that is to be used from now on, with the rules and how strong it is. */
export function NewPasswordField({ ofOperator = false, ...props }: NewPasswordFieldProps) {
  const { t } = useTranslation("accounts");
  const { data: site } = useQuery(siteQuery);
  const hintId = useId();
  const password = props.value ?? "";
  const rules = site?.password;
  const least = (ofOperator ? rules?.characters_least_admin : rules?.characters_least) ?? 8;
  const strength = password.length < least ? "weak" : strengthOf(password);
  return (
    <Stack gap={6}>
      <PasswordInput
        required
        withAsterisk={false}
        autoComplete="new-password"
        label={t("password.label")}
        description={t("password.rules", { least })}
        maxLength={rules?.characters_max}
        aria-describedby={hintId}
        visibilityToggleButtonProps={{ "aria-label": t("password.show") }}
        {...props}
      />
      <Group id={hintId} gap="xs" wrap="nowrap" aria-live="polite">
        <Progress
          value={password ? (STRENGTHS.indexOf(strength) + 1) * 25 : 0}
          color={COLORS[strength]}
          size="sm"
          style={{ flex: 1 }}
          aria-label={t("password.strength")}
        />
        <Text size="xs" c="dimmed" miw="8em" ta="right">
          {password ? t(`password.${strength}`) : t("password.advice")}
        </Text>
      </Group>
    </Stack>
  );
}
