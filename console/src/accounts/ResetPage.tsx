import { Alert, Anchor, Button, Text, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { api, Problem } from "../api/client";
import { refusedFields } from "../kit/forms";
import { ProblemAlert } from "../kit/ProblemAlert";
import { siteQuery } from "../site/queries";
import { CodeField } from "./CodeField";
import { FormCard } from "./FormCard";
import { NewPasswordField } from "./PasswordField";

/** Behind the # of an administrator's link; browsers send that to nobody. */
function useLinkSecret(): string {
  const [secret] = useState(() => window.location.hash.slice(1));
  useEffect(() => {
    window.history.replaceState(window.history.state, "", window.location.pathname);
  }, []);
  return secret;
}

/** Another password: by a code to a verified number or address, or by an administrator's link. */
export function ResetPage() {
  const { t } = useTranslation("accounts");
  const { data: site } = useQuery(siteQuery);
  const link = useLinkSecret();
  const [busy, setBusy] = useState(false);
  const [done, setDone] = useState(false);
  // The link is of an account without a number and an address: one is named here.
  const [nameless, setNameless] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const form = useForm({ initialValues: { login: "", code: "", code_handle: "", password: "" } });
  const canSend = site?.registration.can_text || site?.registration.can_mail;

  async function submit(values: typeof form.values) {
    setBusy(true);
    setProblem(null);
    const { password } = values;
    const body = link
      ? { password, link, login: values.login.trim() }
      : {
          password,
          login: values.login.trim(),
          code: values.code.trim(),
          code_handle: values.code_handle,
        };
    try {
      await api.POST("/api/auth/reset", { body });
      setDone(true);
    } catch (error) {
      setNameless((was) => was || (error instanceof Problem && error.code === "address_needed"));
      setProblem(refusedFields(form, error, ["login", "code", "password"]));
    } finally {
      setBusy(false);
    }
  }

  if (done) {
    return (
      <Alert color="teal" title={t("reset.done")} role="status">
        <Anchor renderRoot={(props) => <Link to="/login" {...props} />}>{t("reset.login")}</Anchor>
      </Alert>
    );
  }
  if (!link && site && !canSend) {
    return (
      <Alert color="sea" title={t("reset.askTitle")}>
        {t("reset.ask", { contact: site.contact })}
      </Alert>
    );
  }
  return (
    <FormCard title={t("reset.title")} text={t("reset.text")} onSubmit={form.onSubmit(submit)}>
      {link && nameless && (
        <TextInput
          label={t("login.login")}
          description={t("reset.nameless")}
          autoComplete="username"
          maxLength={254}
          autoFocus
          {...form.getInputProps("login")}
        />
      )}
      {!link && (
        <>
          <TextInput
            label={t("login.login")}
            autoComplete="username"
            autoFocus
            {...form.getInputProps("login")}
          />
          <CodeField
            purpose="reset"
            channel={form.values.login.includes("@") ? "email" : "phone"}
            address={form.values.login.trim()}
            onAsked={(handle) => form.setFieldValue("code_handle", handle)}
            {...form.getInputProps("code")}
          />
        </>
      )}
      <NewPasswordField {...form.getInputProps("password")} />
      <ProblemAlert error={problem} />
      <Button type="submit" loading={busy} fullWidth>
        {t("reset.submit")}
      </Button>
      <Text size="sm">
        <Anchor inherit underline="always" renderRoot={(props) => <Link to="/login" {...props} />}>
          {t("reset.login")}
        </Anchor>
      </Text>
    </FormCard>
  );
}
