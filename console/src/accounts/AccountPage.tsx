import { Stack, Title } from "@mantine/core";
import { useTranslation } from "react-i18next";
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
      <Title order={1} size="h2">
        {t("account.title")}
      </Title>
      <Profile />
      <ChangePassword />
      <SecondFactor />
      <Sessions />
      <AccessTokens />
    </Stack>
  );
}
