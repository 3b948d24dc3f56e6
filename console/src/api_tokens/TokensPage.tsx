import "./styles";
import { Button, Group, Stack, Text } from "@mantine/core";
import { IconKey, IconPlus } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { DataTable } from "../kit/DataTable";
import { notices } from "../kit/notices";
import { ProblemAlert } from "../kit/ProblemAlert";
import { PageTitle } from "../site/PageTitle";
import type { Act } from "./Actions";
import { Bulk } from "./Bulk";
import { tokenColumns } from "./columns";
import { DeleteDialog } from "./DeleteDialog";
import { Filters } from "./Filters";
import { PermissionDialog } from "./PermissionDialog";
import { Practices } from "./Practices";
import { switchAtOnce, type Token, type TokenMade, tokensChanged, tokensQuery } from "./queries";
import { RotateDialog } from "./RotateDialog";
import { SecretDialog } from "./SecretDialog";
import { orderOf, type TokenSearch, withOrder } from "./search";
import { TokenDialog } from "./TokenDialog";

const NONE: ReadonlySet<number> = new Set();

/** The tokens of who is logged in, and everything that is done with them. */
export function TokensPage() {
  const { t } = useTranslation("api_tokens");
  const navigate = useNavigate();
  const search = useSearch({ from: "/console/tokens" });
  const found = useInfiniteQuery(tokensQuery(search));
  const [selected, setSelected] = useState(NONE);
  const [acting, setActing] = useState<{ act: Act; token: Token } | null>(null);
  const [made, setMade] = useState<TokenMade | null>(null);
  const tokens = found.data?.pages.flatMap((page) => page.items);
  const isFiltered = Boolean(search.q || search.status || search.group);

  function look(change: TokenSearch) {
    setSelected(NONE);
    void navigate({ to: "/console/tokens", search: { ...search, ...change }, replace: true });
  }

  const columns = useMemo(
    () =>
      tokenColumns(
        t,
        (act, token) => setActing({ act, token }),
        (token, enabled) => {
          switchAtOnce(token, enabled).catch(notices.failed);
        },
      ),
    [t],
  );

  function shown(token: TokenMade) {
    setActing(null);
    look({ create: undefined });
    setMade(token);
    void tokensChanged();
  }

  function closed() {
    setActing(null);
    look({ create: undefined });
  }

  return (
    <Stack gap="md">
      <Group justify="space-between" align="flex-start">
        <div>
          <PageTitle>{t("title")}</PageTitle>
          <Text size="sm" c="dimmed">
            {t("subtitle")}
          </Text>
        </div>
        <Button
          leftSection={<IconPlus size={18} aria-hidden />}
          onClick={() => look({ create: true })}
        >
          {t("create.act")}
        </Button>
      </Group>
      <Filters search={search} onChange={look} />
      <ProblemAlert error={found.error} onRetry={() => found.refetch()} />
      {tokens?.length === 0 && (
        <Empty isFiltered={isFiltered} onCreate={() => look({ create: true })} />
      )}
      {tokens?.length !== 0 && (tokens || !found.error) && (
        <DataTable
          name="tokens"
          caption={t("title")}
          columns={columns}
          rows={tokens}
          idOf={(token) => token.id}
          nameOf={(token) => token.name}
          total={found.data?.pages[0]?.total}
          order={orderOf(search)}
          onOrder={(order) => look(withOrder(order))}
          selected={selected}
          onSelect={setSelected}
          bulk={
            <Bulk
              tokens={(tokens ?? []).filter((token) => selected.has(token.id))}
              onDone={() => setSelected(NONE)}
            />
          }
          onMore={found.hasNextPage ? () => found.fetchNextPage() : undefined}
          busy={found.isFetching}
        />
      )}
      <Practices />
      {search.create && <TokenDialog onClose={closed} onMade={shown} />}
      {acting?.act === "edit" && (
        <TokenDialog token={acting.token} onClose={closed} onMade={shown} />
      )}
      {acting?.act === "rotate" && (
        <RotateDialog token={acting.token} onClose={closed} onMade={shown} />
      )}
      {acting?.act === "permission" && <PermissionDialog token={acting.token} onClose={closed} />}
      {acting?.act === "delete" && <DeleteDialog tokens={[acting.token]} onClose={closed} />}
      {made && <SecretDialog made={made} onClose={() => setMade(null)} />}
    </Stack>
  );
}

function Empty({ isFiltered, onCreate }: { isFiltered: boolean; onCreate: () => void }) {
  const { t } = useTranslation("api_tokens");
  return (
    <Stack className="aipool-card" align="center" p="xl" gap="sm" role="status">
      <IconKey size={40} stroke={1.3} aria-hidden />
      <Text fw={600}>{isFiltered ? t("empty.filtered") : t("empty.title")}</Text>
      {!isFiltered && (
        <>
          <Text size="sm" c="dimmed" ta="center" maw={460}>
            {t("empty.text")}
          </Text>
          <Button onClick={onCreate}>{t("empty.act")}</Button>
        </>
      )}
    </Stack>
  );
}
