import {
  Alert,
  Anchor,
  Button,
  Group,
  SimpleGrid,
  Stack,
  Text,
  ThemeIcon,
  Title,
} from "@mantine/core";
import "@mantine/core/styles/SimpleGrid.css";
import "@mantine/core/styles/ThemeIcon.css";
import { IconCheck, IconCircleDashed } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { chatModelsQuery, tokensSummaryQuery } from "../api_tokens/queries";
import { curl, exampleModel } from "../api_tokens/snippets";
import { Copyable, Snippet } from "../kit/Copyable";
import { nanoOf } from "../kit/money";
import { Amount } from "../site/Amount";
import { PageTitle } from "../site/PageTitle";
import { siteQuery, useBaseUrl, useMoney } from "../site/queries";
import { meQuery } from "./queries";

/** Where somebody stands: the balance, the first steps, and how to call. */
export function OverviewPage() {
  const { t } = useTranslation("accounts");
  const money = useMoney();
  const baseUrl = useBaseUrl();
  const { data: me } = useQuery(meQuery);
  const { data: site } = useQuery(siteQuery);
  const { data: tokens } = useQuery(tokensSummaryQuery);
  const { data: chatting } = useQuery(chatModelsQuery(undefined));
  const balance = me?.balance ?? "0";
  const [has, least] = [nanoOf(balance) ?? 0n, nanoOf(me?.low_balance ?? site?.low_balance ?? "0")];
  const isFunded = has > 0n;
  const isLow = isFunded && least !== null && has < least;
  const called = tokens?.items.some((token) => token.last_used_at !== null) ?? false;

  return (
    <Stack gap="lg">
      <PageTitle>{t("overview.title")}</PageTitle>
      {isLow && (
        <Alert color="orange" title={t("overview.low", { amount: money(balance, 2) })}>
          {t("overview.lowText")}
        </Alert>
      )}
      <SimpleGrid cols={{ base: 1, xs: 2, md: 3 }}>
        <Figure label={t("overview.balance")} value={<Amount cny={balance} />} />
        <Figure label={t("overview.tokens")} value={String(tokens?.total ?? "–")} />
      </SimpleGrid>
      <Stack className="aipool-card" p="lg" gap="sm">
        <Title order={2} size="h4">
          {t("overview.steps")}
        </Title>
        <Step done={isFunded} title={t("overview.fund")} text={t("overview.fundText")} />
        <Step
          done={(tokens?.total ?? 0) > 0}
          title={t("overview.token")}
          text={t("overview.tokenText")}
        >
          <Button
            size="compact-sm"
            variant="light"
            renderRoot={(props) => (
              <Link to="/console/tokens" search={{ create: true }} {...props} />
            )}
          >
            {t("overview.tokenAct")}
          </Button>
        </Step>
        <Step done={called} title={t("overview.call")} text={t("overview.callText")} />
      </Stack>
      <Stack className="aipool-card" p="lg" gap="sm">
        <Title order={2} size="h4">
          {t("overview.use")}
        </Title>
        <Text size="sm" c="dimmed">
          {t("overview.useText")}
        </Text>
        <Group gap="xs">
          <Text size="sm">{t("overview.baseUrl")}</Text>
          <Copyable text={baseUrl} what={t("overview.baseUrl")} />
        </Group>
        <Snippet text={curl(baseUrl, "sk-…", exampleModel(chatting, null))} what="curl" />
        <Text size="sm">
          <Anchor
            inherit
            underline="always"
            renderRoot={(props) => <Link to="/console/tokens" {...props} />}
          >
            {t("overview.manage")}
          </Anchor>
        </Text>
      </Stack>
    </Stack>
  );
}

function Figure({ label, value }: { label: string; value: React.ReactNode }) {
  return (
    <div className="aipool-card" style={{ padding: "18px 20px" }}>
      <Text size="sm" c="dimmed">
        {label}
      </Text>
      <Text fz={28} fw={700} lh={1.3} component="div">
        {value}
      </Text>
    </div>
  );
}

interface StepProps {
  done: boolean;
  title: string;
  text: string;
  children?: React.ReactNode;
}

function Step({ done, title, text, children }: StepProps) {
  const { t } = useTranslation("accounts");
  const Icon = done ? IconCheck : IconCircleDashed;
  return (
    <Group wrap="nowrap" align="flex-start">
      <ThemeIcon
        radius="xl"
        variant={done ? "filled" : "default"}
        color="teal.9"
        role="img"
        aria-label={done ? t("overview.done") : t("overview.open")}
      >
        <Icon size={16} aria-hidden />
      </ThemeIcon>
      <div style={{ flex: 1 }}>
        <Text fw={600}>{title}</Text>
        <Text size="sm" c="dimmed">
          {text}
        </Text>
      </div>
      {!done && children}
    </Group>
  );
}
