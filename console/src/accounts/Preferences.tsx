import { Button, Group, NativeSelect, SimpleGrid, Stack, TextInput } from "@mantine/core";
import "@mantine/core/styles/Combobox.css";
import "@mantine/core/styles/SimpleGrid.css";
import { useForm } from "@mantine/form";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { refusedFields, showWrong } from "../kit/forms";
import { LANGUAGES, type Language, speak } from "../kit/languages";
import { nanoOf } from "../kit/money";
import { notices } from "../kit/notices";
import { ProblemAlert } from "../kit/ProblemAlert";
import { siteQuery } from "../site/queries";
import { changeMe, type Me } from "./queries";

/** The name that is shown, the language of pages and letters, and below which balance to warn. */
export function Preferences({ me }: { me: Me }) {
  const { t, i18n } = useTranslation("accounts");
  const { data: site } = useQuery(siteQuery);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const before = (me.locale || i18n.language) as Language;
  const form = useForm({
    initialValues: {
      name: me.name,
      locale: before,
      low_balance: me.low_balance ?? "",
    },
    validate: {
      low_balance: (text) =>
        text.trim() === "" || (nanoOf(text) ?? -1n) >= 0n ? null : t("profile.amountWrong"),
    },
  });

  async function submit({ name, locale, low_balance }: typeof form.values) {
    setBusy(true);
    setProblem(null);
    try {
      await changeMe({ name: name.trim(), locale, low_balance: low_balance.trim() || null });
      if (locale !== before) {
        await speak(locale);
      }
      notices.done(t("profile.done"));
    } catch (error) {
      setProblem(refusedFields(form, error, ["name", "locale", "low_balance"]));
    }
    setBusy(false);
  }

  return (
    <form
      onSubmit={form.onSubmit(submit, (wrong) => showWrong(form, Object.keys(wrong)))}
      noValidate
    >
      <Stack gap="sm">
        <SimpleGrid cols={{ base: 1, xs: 2 }}>
          <TextInput
            label={t("profile.name")}
            description={t("profile.nameHint")}
            autoComplete="nickname"
            maxLength={100}
            {...form.getInputProps("name")}
          />
          <NativeSelect
            label={t("profile.locale")}
            description={t("profile.localeHint")}
            data={Object.entries(LANGUAGES).map(([value, label]) => ({ value, label }))}
            {...form.getInputProps("locale")}
          />
          <TextInput
            label={t("profile.lowBalance")}
            description={t("profile.lowBalanceHint")}
            placeholder={t("profile.lowBalanceSite", { amount: site?.low_balance ?? "" })}
            inputMode="decimal"
            leftSection="¥"
            {...form.getInputProps("low_balance")}
          />
        </SimpleGrid>
        <ProblemAlert error={problem} />
        <Group>
          <Button type="submit" variant="default" loading={busy}>
            {t("profile.apply")}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
