import { Badge, Group, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { ProblemAlert } from "../kit/ProblemAlert";
import { Moment } from "../kit/times";
import { meQuery } from "./queries";
import { Section } from "./Section";

/** What the account is known by. */
export function Profile() {
  const { t } = useTranslation("accounts");
  const { data: me, error } = useQuery(meQuery);
  if (!me) {
    return <ProblemAlert error={error} />;
  }
  return (
    <Section title={t("profile.title")}>
      <Line label={t("profile.phone")} value={me.phone} verified={me.phone_verified} />
      <Line label={t("profile.email")} value={me.email} verified={me.email_verified} />
      <Group gap="xs">
        <Text size="sm" c="dimmed" w="9em">
          {t("profile.since")}
        </Text>
        <Text size="sm" component="div">
          <Moment at={me.created_at} />
        </Text>
      </Group>
    </Section>
  );
}

function Line(props: { label: string; value: string | null; verified: boolean }) {
  const { t } = useTranslation("accounts");
  return (
    <Group gap="xs">
      <Text size="sm" c="dimmed" w="9em">
        {props.label}
      </Text>
      <Text size="sm">{props.value ?? t("profile.none")}</Text>
      {props.value && (
        <Badge variant="light" color={props.verified ? "teal" : "gray"} tt="none">
          {props.verified ? t("profile.verified") : t("profile.unverified")}
        </Badge>
      )}
    </Group>
  );
}
