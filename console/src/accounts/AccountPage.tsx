import { Stack } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { PageTitle } from "../site/PageTitle";
import { AccessTokens } from "./AccessTokens";
import { ChangePassword } from "./ChangePassword";
import { Profile } from "./Profile";
import { SecondFactor } from "./SecondFactor";
import { Sessions } from "./Sessions";

/** One's own account. */
export function AccountPage() {
  const { t } = useTranslation("accounts");
  return (
    <Stack gap="lg" maw={760}>
      <PageTitle>{t("account.title")}</PageTitle>
      <Profile />
      <ChangePassword />
      <SecondFactor />
      <Sessions />
      <AccessTokens />
    </Stack>
  );
}
