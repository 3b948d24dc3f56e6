import { Button, Center, Stack, Text, Title } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";

/** An address without a page. */
export function NotThere() {
  const { t } = useTranslation("shell");
  return (
    <Center component="main" p="xl" mih="60vh">
      <Stack align="center">
        <Title order={1}>{t("notThere.title")}</Title>
        <Text c="dimmed">{t("notThere.text")}</Text>
        <Button renderRoot={(props) => <Link to="/console" {...props} />}>
          {t("notThere.home")}
        </Button>
      </Stack>
    </Center>
  );
}
