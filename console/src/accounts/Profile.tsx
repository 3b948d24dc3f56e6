import { Badge, Button, Group, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { ProblemAlert } from "../kit/ProblemAlert";
import { queries } from "../kit/queries";
import { Moment } from "../kit/times";
import { Preferences } from "./Preferences";
import { type Me, meQuery } from "./queries";
import { ReachForm } from "./ReachForm";
import { Section } from "./Section";

/** What the account is known by, and how it becomes other. */
export function Profile() {
  const { t } = useTranslation("accounts");
  const { data: me, error } = useQuery(meQuery);
  if (!me) {
    return <ProblemAlert error={error} />;
  }
  return (
    <Section title={t("profile.title")}>
      <Reached channel="phone" me={me} />
      <Reached channel="email" me={me} />
      <Group gap="xs">
        <Text size="sm" c="dimmed" w="9em">
          {t("profile.since")}
        </Text>
        <Text size="sm" component="div">
          <Moment at={me.created_at} />
        </Text>
      </Group>
      <Preferences key={me.locale} me={me} />
    </Section>
  );
}

function Reached({ channel, me }: { channel: "phone" | "email"; me: Me }) {
  const { t } = useTranslation("accounts");
  const [changing, setChanging] = useState(false);
  const address = me[channel];
  const isProved = me[`${channel}_verified`];

  async function changed() {
    await queries.invalidateQueries({ queryKey: meQuery.queryKey });
    setChanging(false);
  }

  return (
    <>
      <Group gap="xs">
        <Text size="sm" c="dimmed" w="9em">
          {t(`profile.${channel}`)}
        </Text>
        <Text size="sm" style={{ overflowWrap: "anywhere" }}>
          {address ?? t("profile.none")}
        </Text>
        {address && (
          <Badge variant="light" color={isProved ? "teal" : "gray"} tt="none">
            {isProved ? t("profile.verified") : t("profile.unverified")}
          </Badge>
        )}
        {!changing && (
          <Button
            size="compact-sm"
            variant="subtle"
            aria-label={t(`profile.${channel}Change`)}
            onClick={() => setChanging(true)}
          >
            {t("profile.change")}
          </Button>
        )}
      </Group>
      {changing && (
        <ReachForm
          channel={channel}
          address={address ?? ""}
          onDone={changed}
          onCancel={() => setChanging(false)}
        />
      )}
    </>
  );
}
