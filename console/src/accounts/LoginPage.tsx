import { Anchor, Button, Group, PasswordInput, Text, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api, Problem } from "../api/client";
import { refusedFields, showWrong } from "../kit/forms";
import { ProblemAlert } from "../kit/ProblemAlert";
import { FormCard } from "./FormCard";
import { withProof } from "./proof";
import { someoneCame } from "./queries";
import { useWait } from "./useWait";

/** Phone number and password, and a code where the account has a second factor. */
export function LoginPage() {
  const { t } = useTranslation("accounts");
  const navigate = useNavigate();
  const { next } = useSearch({ from: "/public/login" });
  const [asksCode, setAsksCode] = useState(false);
  const [busy, setBusy] = useState(false);
  const [working, setWorking] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const [wait, setWait] = useWait();
  const form = useForm({
    mode: "uncontrolled",
    initialValues: { login: "", password: "", code: "" },
    validate: {
      login: (value) => (value.trim() ? null : t("login.loginMissing")),
      password: (value) => (value ? null : t("login.passwordMissing")),
    },
  });

  async function submit({ login, password, code }: typeof form.values) {
    setBusy(true);
    setProblem(null);
    try {
      const body = { login: login.trim(), password, code: asksCode ? code.trim() : "" };
      await withProof(
        (proof) => api.POST("/api/auth/login", { body: { ...body, proof } }),
        setWorking,
      );
      await someoneCame();
      await navigate({ href: next ?? "/console", replace: true });
    } catch (error) {
      if (error instanceof Problem && error.code === "totp_needed") {
        setAsksCode(true);
      } else {
        setWait(error instanceof Problem ? error.retryAfterSeconds : 0);
        setProblem(asksCode ? refusedFields(form, error, ["code"]) : error);
      }
    } finally {
      setBusy(false);
    }
  }

  return (
    <FormCard
      title={t("login.title")}
      text={t("login.text")}
      onSubmit={form.onSubmit(submit, (wrong) => showWrong(form, Object.keys(wrong)))}
    >
      <TextInput
        label={t("login.login")}
        autoComplete="username"
        autoFocus
        key={form.key("login")}
        {...form.getInputProps("login")}
      />
      <PasswordInput
        label={t("password.label")}
        autoComplete="current-password"
        visibilityToggleButtonProps={{ "aria-label": t("password.show") }}
        key={form.key("password")}
        {...form.getInputProps("password")}
      />
      {asksCode && (
        <TextInput
          label={t("login.code")}
          description={t("login.codeHint")}
          // A recovery code has letters, which a keyboard of digits has not.
          autoCapitalize="none"
          spellCheck={false}
          autoComplete="one-time-code"
          autoFocus
          key={form.key("code")}
          {...form.getInputProps("code")}
        />
      )}
      <ProblemAlert error={problem} />
      <Button type="submit" loading={busy} disabled={wait > 0} fullWidth>
        {wait > 0 ? t("login.wait", { seconds: wait }) : t("login.submit")}
      </Button>
      <Text size="sm" c="dimmed" role="status">
        {working ? t("working") : ""}
      </Text>
      <Group justify="space-between">
        <Anchor size="sm" renderRoot={(props) => <Link to="/register" {...props} />}>
          {t("login.register")}
        </Anchor>
        <Anchor size="sm" renderRoot={(props) => <Link to="/reset" {...props} />}>
          {t("login.forgotten")}
        </Anchor>
      </Group>
    </FormCard>
  );
}
