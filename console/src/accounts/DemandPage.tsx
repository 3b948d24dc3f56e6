import { Button, Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { queries } from "../kit/queries";
import { PageTitle } from "../site/PageTitle";
import { AgreeForm } from "./AgreeForm";
import { ChangePassword } from "./ChangePassword";
import { type Demand, demandOf } from "./demands";
import { meQuery } from "./queries";
import { ReachForm } from "./ReachForm";
import { SecondFactor } from "./SecondFactor";

interface DemandPageProps {
  demand: Demand;
  onMet: () => void;
  onLogout: () => void;
}

/** In place of every page, until what the server wants is done. */
export function DemandPage({ demand, onMet, onLogout }: DemandPageProps) {
  const { t } = useTranslation("accounts");
  const { data: me } = useQuery(meQuery);

  async function done() {
    await queries.invalidateQueries({ queryKey: meQuery.queryKey });
    onMet();
  }

  return (
    <Stack gap="lg" maw={620} mx="auto">
      <div>
        <PageTitle>{t(`demand.${demand}.title`)}</PageTitle>
        <Text c="dimmed" mt={4}>
          {t(`demand.${demand}.text`)}
        </Text>
      </div>
      {demand === "password_needed" && <ChangePassword onSaved={done} />}
      {demand === "totp_set_up_needed" && <SecondFactor onSaved={done} />}
      {demand === "phone_needed" && (
        <div className="aipool-card" style={{ padding: 24 }}>
          <ReachForm channel="phone" address="" onDone={done} />
        </div>
      )}
      {demand === "terms_needed" && <AgreeForm onDone={done} />}
      <Group>
        {/* It was done elsewhere meanwhile. */}
        {me && demandOf(me) === null && <Button onClick={onMet}>{t("demand.goOn")}</Button>}
        <Button variant="default" onClick={onLogout}>
          {t("demand.logout")}
        </Button>
      </Group>
    </Stack>
  );
}
