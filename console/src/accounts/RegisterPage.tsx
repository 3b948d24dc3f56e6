import { Alert, Anchor, Button, Checkbox, Text, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api, Problem } from "../api/client";
import { refusedFields, showWrong } from "../kit/forms";
import type { Language } from "../kit/languages";
import { ProblemAlert } from "../kit/ProblemAlert";
import { queries } from "../kit/queries";
import { type Site, siteQuery } from "../site/queries";
import { AgreeWords } from "./AgreeWords";
import { CodeField } from "./CodeField";
import { FormCard } from "./FormCard";
import { NewPasswordField } from "./PasswordField";
import { withProof } from "./proof";
import { someoneCame } from "./queries";

const FIELDS = [
  "phone",
  "password",
  "phone_code",
  "email",
  "email_code",
  "invitation",
  "terms_version",
] as const;

/** A phone number and a password; what else is asked for the operator says. */
export function RegisterPage() {
  const { data: site, error } = useQuery(siteQuery);
  if (!site) {
    return <ProblemAlert error={error} />;
  }
  return <RegisterForm site={site} />;
}

function RegisterForm({ site }: { site: Site }) {
  const { t, i18n } = useTranslation("accounts");
  const navigate = useNavigate();
  const { invitation } = useSearch({ from: "/public/register" });
  const [busy, setBusy] = useState(false);
  const [working, setWorking] = useState(false);
  const [pending, setPending] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const asksTerms = site.terms_version !== "" || site.privacy_version !== "";
  const form = useForm({
    initialValues: {
      phone: "",
      password: "",
      phone_code: "",
      phone_code_handle: "",
      email: "",
      email_code: "",
      email_code_handle: "",
      invitation: invitation ?? "",
      terms_version: false,
    },
    validate: {
      phone: (value) => (value.trim() ? null : t("register.phoneMissing")),
      password: (value) =>
        value.length >= site.password.characters_least
          ? null
          : t("password.rules", { least: site.password.characters_least }),
      terms_version: (agreed) => (agreed || !asksTerms ? null : t("register.termsMissing")),
    },
  });

  async function submit(values: typeof form.values) {
    setBusy(true);
    setProblem(null);
    try {
      const body = {
        phone: values.phone.trim(),
        password: values.password,
        phone_code: values.phone_code.trim(),
        phone_code_handle: values.phone_code_handle,
        name: "",
        email: values.email.trim(),
        email_code: values.email_code.trim(),
        email_code_handle: values.email_code_handle,
        invitation: values.invitation.trim(),
        terms_version: site.terms_version,
        privacy_version: site.privacy_version,
        locale: i18n.language as Language,
      };
      const made = await withProof(
        (proof) => api.POST("/api/auth/register", { body: { ...body, proof } }),
        setWorking,
      );
      if (made.data?.me === null) {
        setPending(true);
        return;
      }
      await someoneCame();
      await navigate({ to: "/console", replace: true });
    } catch (error) {
      setProblem(refusedFields(form, error, FIELDS));
      if (error instanceof Problem && error.code === "terms_not_agreed") {
        // They changed while this page was open: the next try is about those in force.
        form.setFieldValue("terms_version", false);
        await queries.invalidateQueries({ queryKey: siteQuery.queryKey });
      }
    } finally {
      setBusy(false);
    }
  }

  if (pending) {
    return (
      <Alert color="teal" title={t("register.pendingTitle")} role="status">
        {t("register.pending")}
      </Alert>
    );
  }
  if (site.registration.mode === "closed") {
    return <Alert color="gray" title={t("register.closed")} />;
  }
  return (
    <FormCard
      title={t("register.title")}
      text={t("register.text")}
      onSubmit={form.onSubmit(submit, (wrong) => showWrong(form, Object.keys(wrong)))}
    >
      {site.registration.mode === "approval" && <Text size="sm">{t("register.approval")}</Text>}
      <TextInput
        label={t("register.phone")}
        description={t("register.phoneHint")}
        type="tel"
        autoComplete="username"
        autoFocus
        {...form.getInputProps("phone")}
      />
      {site.registration.verify_phone !== "off" && (
        <CodeField
          purpose="register"
          channel="phone"
          address={form.values.phone.trim()}
          onAsked={(handle) => form.setFieldValue("phone_code_handle", handle)}
          required={site.registration.verify_phone === "required"}
          {...form.getInputProps("phone_code")}
        />
      )}
      <NewPasswordField {...form.getInputProps("password")} />
      {site.registration.verify_email !== "off" && (
        <>
          <TextInput
            label={t("register.email")}
            type="email"
            autoComplete="email"
            required={site.registration.verify_email === "required"}
            {...form.getInputProps("email")}
          />
          <CodeField
            purpose="register"
            channel="email"
            address={form.values.email.trim()}
            onAsked={(handle) => form.setFieldValue("email_code_handle", handle)}
            {...form.getInputProps("email_code")}
          />
        </>
      )}
      {(site.registration.mode === "invitation" || form.values.invitation !== "") && (
        <TextInput
          label={t("register.invitation")}
          required={site.registration.mode === "invitation"}
          {...form.getInputProps("invitation")}
        />
      )}
      {asksTerms && (
        <Checkbox
          label={<AgreeWords site={site} />}
          {...form.getInputProps("terms_version", { type: "checkbox" })}
        />
      )}
      <ProblemAlert error={problem} />
      <Button type="submit" loading={busy} fullWidth>
        {t("register.submit")}
      </Button>
      <Text size="sm" c="dimmed" role="status">
        {working ? t("working") : ""}
      </Text>
      <Text size="sm">
        {t("register.known")}{" "}
        <Anchor inherit underline="always" renderRoot={(props) => <Link to="/login" {...props} />}>
          {t("register.login")}
        </Anchor>
      </Text>
    </FormCard>
  );
}
