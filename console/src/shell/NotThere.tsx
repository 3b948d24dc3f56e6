import { Button, Center, Stack, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { PageTitle } from "../site/PageTitle";

/** An address without a page. */
export function NotThere() {
  const { t } = useTranslation("shell");
  return (
    <Center p="xl" mih="60vh">
      <Stack align="center">
        <PageTitle>{t("notThere.title")}</PageTitle>
        <Text c="dimmed">{t("notThere.text")}</Text>
        <Button renderRoot={(props) => <Link to="/console" {...props} />}>
          {t("notThere.home")}
        </Button>
      </Stack>
    </Center>
  );
}
