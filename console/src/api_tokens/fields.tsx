// The parts of the form of a token.

import {
  Input,
  MultiSelect,
  NativeSelect,
  SegmentedControl,
  SimpleGrid,
  Stack,
  Text,
  TextInput,
} from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useId } from "react";
import { useTranslation } from "react-i18next";
import { EXPIRIES, type Expiry, fieldOf } from "./expiry";
import type { Form } from "./form";
import { groupsQuery, modelsQuery, type Token } from "./queries";

const RESETS: Token["reset"][] = ["none", "daily", "weekly", "monthly"];

/** What it may spend: until a reset, and in all. */
export function LimitFields({ form }: { form: Form }) {
  const { t } = useTranslation("api_tokens");
  return (
    <SimpleGrid cols={{ base: 1, xs: 3 }}>
      <TextInput
        label={t("form.limit")}
        placeholder={t("form.unlimited")}
        inputMode="decimal"
        leftSection="¥"
        {...form.getInputProps("limit")}
      />
      <NativeSelect
        label={t("form.reset")}
        data={RESETS.map((value) => ({ value, label: t(`reset.${value}`) }))}
        {...form.getInputProps("reset")}
      />
      <TextInput
        label={t("form.total")}
        placeholder={t("form.unlimited")}
        inputMode="decimal"
        leftSection="¥"
        {...form.getInputProps("total_limit")}
      />
      <Text size="xs" c="dimmed" style={{ gridColumn: "1 / -1" }}>
        {t("form.limitHint")}
      </Text>
    </SimpleGrid>
  );
}

/** When it ends: never, soon, or at any moment. */
export function ExpiryField({ form }: { form: Form }) {
  const { t } = useTranslation("api_tokens");
  const labelId = useId();
  const { expiry } = form.values;
  return (
    <Stack gap={6}>
      <Input.Label id={labelId} labelElement="div">
        {t("form.expiry")}
      </Input.Label>
      <SegmentedControl
        aria-labelledby={labelId}
        data={EXPIRIES.map((value) => ({ value, label: t(`expiry.${value}`) }))}
        value={expiry}
        onChange={(value) => form.setFieldValue("expiry", value as Expiry)}
      />
      {expiry === "custom" && (
        <TextInput
          type="datetime-local"
          aria-label={t("form.when")}
          min={fieldOf(new Date())}
          {...form.getInputProps("expires_at")}
        />
      )}
      <Text size="xs" c="dimmed">
        {t("form.expiryHint")}
      </Text>
    </Stack>
  );
}

interface GroupFieldProps {
  form: Form;
  /** The one that is edited. */
  token?: Token;
}

/** The pricing group. One that the token is in and its owner may not use any more is shown as it
 * is, so that another can be chosen: without one, the token stays refused. */
export function GroupField({ form, token }: GroupFieldProps) {
  const { t } = useTranslation("api_tokens");
  const { data } = useQuery(groupsQuery);
  const { group_id } = form.values;
  const groups = data?.items ?? [];
  const chosen = groups.find(({ id, is_default }) =>
    group_id === "" ? is_default : String(id) === group_id,
  );
  const isLost = data !== undefined && group_id !== "" && !chosen;
  const isOpen = data !== undefined && group_id === "" && !chosen;
  const { error, ...input } = form.getInputProps("group_id");
  return (
    <NativeSelect
      label={t("form.group")}
      description={chosen?.description || t("form.groupHint")}
      data={[
        ...(isLost
          ? [
              {
                value: group_id,
                label: t("form.groupLost", { name: token?.group.name ?? group_id }),
              },
            ]
          : []),
        ...(isOpen ? [{ value: "", label: t("form.groupOpen") }] : []),
        ...groups.map(({ id, name, multiplier, models_count }) => ({
          value: String(id),
          label: t("form.groupChoice", { name, multiplier, count: models_count }),
        })),
      ]}
      {...input}
      error={error ?? (isLost && t("form.groupLostHint"))}
      value={group_id || String(chosen?.id ?? "")}
    />
  );
}

/** One, several, or all models of the group. */
export function ModelsField({ form }: { form: Form }) {
  const { t } = useTranslation("api_tokens");
  const { data } = useQuery(modelsQuery(Number(form.values.group_id) || undefined));
  const names = new Set([...(data ?? []), ...form.values.models]);
  return (
    <MultiSelect
      label={t("form.models")}
      description={t("form.modelsHint")}
      placeholder={form.values.models.length === 0 ? t("form.modelsAll") : undefined}
      data={[...names].sort()}
      searchable
      clearable
      hidePickedOptions
      limit={200}
      maxDropdownHeight={240}
      nothingFoundMessage={t("form.modelsNone")}
      clearButtonProps={{ "aria-label": t("form.modelsClear") }}
      {...form.getInputProps("models")}
    />
  );
}
