import { Button, Group, PasswordInput, Stack } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "../api/client";
import { refusedFields } from "../kit/forms";
import { notices } from "../kit/notices";
import { ProblemAlert } from "../kit/ProblemAlert";
import { queries } from "../kit/queries";
import { NewPasswordField } from "./PasswordField";
import { meQuery } from "./queries";
import { Section } from "./Section";
import { useStepUp } from "./StepUp";

/** Another password; every other session ends with the old one. */
export function ChangePassword({ onSaved }: { onSaved?: () => void }) {
  const { t } = useTranslation("accounts");
  const { data: me } = useQuery(meQuery);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  // Of whoever has a second factor.
  const [withStepUp, stepUp] = useStepUp();
  const form = useForm({ initialValues: { current_password: "", password: "" } });

  async function submit(body: typeof form.values) {
    setBusy(true);
    setProblem(null);
    try {
      await withStepUp(() => api.POST("/api/me/password", { body }));
      form.reset();
      notices.done(t("changePassword.done"));
      await queries.invalidateQueries({ queryKey: ["me"] });
      onSaved?.();
    } catch (error) {
      setProblem(refusedFields(form, error, ["current_password", "password"]));
    } finally {
      setBusy(false);
    }
  }

  return (
    <Section title={t("changePassword.title")} text={t("changePassword.text")}>
      <form onSubmit={form.onSubmit(submit)}>
        <Stack maw={420}>
          <PasswordInput
            required
            withAsterisk={false}
            label={t("changePassword.current")}
            autoComplete="current-password"
            visibilityToggleButtonProps={{ "aria-label": t("password.show") }}
            {...form.getInputProps("current_password")}
          />
          <NewPasswordField
            {...form.getInputProps("password")}
            label={t("changePassword.another")}
            ofOperator={me !== undefined && me.role !== "user"}
          />
          <ProblemAlert error={problem} />
          <Group>
            <Button type="submit" loading={busy}>
              {t("changePassword.submit")}
            </Button>
          </Group>
        </Stack>
      </form>
      {stepUp}
    </Section>
  );
}
