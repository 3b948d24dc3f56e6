import { Button, Group, Stack, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "../api/client";
import { refusedFields, showWrong } from "../kit/forms";
import { notices } from "../kit/notices";
import { ProblemAlert } from "../kit/ProblemAlert";
import { siteQuery } from "../site/queries";
import { CodeField } from "./CodeField";
import { useStepUp } from "./StepUp";

interface ReachFormProps {
  channel: "phone" | "email";
  /** What it is now, "" = none. */
  address: string;
  onDone: () => Promise<void>;
  onCancel?: () => void;
}

/** Another phone number or mail address, or the same one, proved by a code. */
export function ReachForm({ channel, address, onDone, onCancel }: ReachFormProps) {
  const { t } = useTranslation(["accounts", "kit"]);
  const { data: site } = useQuery(siteQuery);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const [withStepUp, stepUp] = useStepUp();
  const isPhone = channel === "phone";
  const rules = site?.registration;
  const isProved = (isPhone ? rules?.verify_phone : rules?.verify_email) === "required";
  const canSend = isPhone ? rules?.can_text : rules?.can_mail;
  const form = useForm({
    initialValues: {
      phone: isPhone ? address : "",
      email: isPhone ? "" : address,
      code: "",
      code_handle: "",
    },
    validate: {
      phone: (value) => (isPhone && !value.trim() ? t("register.phoneMissing") : null),
    },
  });
  const typed = form.values[channel].trim();

  async function submit({ phone, email, code, code_handle }: typeof form.values) {
    setBusy(true);
    setProblem(null);
    const proof = { code: code.trim(), code_handle };
    try {
      await withStepUp<unknown>(() =>
        isPhone
          ? api.PUT("/api/me/phone", { body: { phone: phone.trim(), ...proof } })
          : api.PUT("/api/me/email", { body: { email: email.trim(), ...proof } }),
      );
      notices.done(t("profile.done"));
      await onDone();
    } catch (error) {
      setProblem(refusedFields(form, error, ["phone", "email", "code"]));
    } finally {
      setBusy(false);
    }
  }

  return (
    <>
      <form
        onSubmit={form.onSubmit(submit, (wrong) => showWrong(form, Object.keys(wrong)))}
        noValidate
      >
        <Stack maw={420}>
          <TextInput
            label={t(`profile.${channel}New`)}
            description={t(`profile.${channel}Hint`)}
            type={isPhone ? "tel" : "email"}
            autoComplete={isPhone ? "tel" : "email"}
            maxLength={254}
            autoFocus
            {...form.getInputProps(channel)}
          />
          {canSend && typed !== "" && (
            <CodeField
              purpose="verify"
              channel={channel}
              address={typed}
              onAsked={(handle) => form.setFieldValue("code_handle", handle)}
              description={isProved ? undefined : t("profile.codeHint")}
              required={isProved}
              {...form.getInputProps("code")}
            />
          )}
          <ProblemAlert error={problem} />
          <Group>
            <Button type="submit" loading={busy}>
              {t("profile.save")}
            </Button>
            {onCancel && (
              <Button variant="default" onClick={onCancel}>
                {t("kit:cancel")}
              </Button>
            )}
          </Group>
        </Stack>
      </form>
      {stepUp}
    </>
  );
}
