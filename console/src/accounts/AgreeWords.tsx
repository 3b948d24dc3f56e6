import { Anchor } from "@mantine/core";
import { Trans, useTranslation } from "react-i18next";
import type { Site } from "../site/queries";

/** What is agreed to, with ways to read it. */
export function AgreeWords({ site }: { site: Site }) {
  const { t } = useTranslation("accounts");
  const key =
    site.terms_version && site.privacy_version
      ? "register.agreeBoth"
      : site.privacy_version
        ? "register.agreePrivacy"
        : "register.agree";
  return (
    <Trans
      t={t}
      i18nKey={key}
      components={{
        terms: <Anchor href="/terms" target="_blank" inherit underline="always" />,
        privacy: <Anchor href="/privacy" target="_blank" inherit underline="always" />,
      }}
    />
  );
}
