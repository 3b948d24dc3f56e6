import "@mantine/core/styles/AppShell.css";
import "@mantine/core/styles/Burger.css";
import "@mantine/core/styles/NavLink.css";
import { AppShell, Burger, Button, Group, Menu, NavLink, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconChevronDown, IconLogout, IconUserCircle, IconWallet } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { useTranslation } from "react-i18next";
import { type Demand, demandOf } from "../accounts/demands";
import { logout, meQuery, rememberLanguage } from "../accounts/queries";
import { useRefusals } from "../accounts/useRefusals";
import { Amount } from "../site/Amount";
import { Announcement } from "../site/Announcement";
import { Brand } from "../site/Brand";
import { PlainHttp } from "../site/PlainHttp";
import { LanguageMenu, ThemeMenu } from "./Controls";
import { NAVIGATION } from "./navigation";
import styles from "./Shell.module.css";

const DemandPage = lazy(async () => ({
  default: (await import("../accounts/DemandPage")).DemandPage,
}));

/** What is wanted of this person before anything else. It stays until its page is left: what that
 * shows once must not go because it is done. */
function useDemand(): [Demand | null, () => void] {
  const { data: me } = useQuery(meQuery);
  const wanted = demandOf(me);
  const [shown, setShown] = useState(wanted);
  if (wanted !== null && shown === null) {
    setShown(wanted);
  }
  return [shown, () => setShown(null)];
}

/** Around the pages of who is logged in. */
export function Shell() {
  const { t } = useTranslation("shell");
  const [opened, { toggle, close }] = useDisclosure();
  const [demand, met] = useDemand();
  const leave = useLeave();
  useRefusals();
  return (
    <AppShell
      header={{ height: 56 }}
      navbar={{
        width: 220,
        breakpoint: "sm",
        collapsed: { mobile: !opened || demand !== null, desktop: demand !== null },
      }}
      padding={{ base: "md", sm: "lg" }}
    >
      <AppShell.Header className={styles.header}>
        <a href="#main" className="aipool-skip">
          {t("skip")}
        </a>
        <Group gap="sm" wrap="nowrap">
          {demand === null && (
            <Burger
              opened={opened}
              onClick={toggle}
              hiddenFrom="sm"
              size="sm"
              aria-label={t("menu")}
              aria-expanded={opened}
            />
          )}
          <Brand short />
        </Group>
        <Group gap={4} wrap="nowrap">
          <Balance />
          <LanguageMenu onChange={rememberLanguage} />
          <ThemeMenu />
          <PersonMenu bare={demand !== null} />
        </Group>
      </AppShell.Header>
      {demand === null && (
        <AppShell.Navbar p="sm" className={styles.navbar} aria-label={t("navigation")}>
          {NAVIGATION.map(({ to, exact, label, icon: Icon }) => (
            <NavLink
              key={to}
              renderRoot={({ className, ...props }) => (
                <Link
                  to={to}
                  activeOptions={{ exact, includeSearch: false }}
                  activeProps={{ "data-active": "true", "aria-current": "page" }}
                  className={`${className} ${styles.entry}`}
                  {...props}
                />
              )}
              label={t(label)}
              leftSection={<Icon size={19} stroke={1.7} aria-hidden />}
              onClick={close}
            />
          ))}
        </AppShell.Navbar>
      )}
      <AppShell.Main id="main" tabIndex={-1} className={styles.main}>
        <PlainHttp />
        <Announcement />
        {demand === null ? (
          <Outlet />
        ) : (
          <Suspense>
            <DemandPage key={demand} demand={demand} onMet={met} onLogout={leave} />
          </Suspense>
        )}
      </AppShell.Main>
    </AppShell>
  );
}

function Balance() {
  const { t } = useTranslation("shell");
  const { data: me } = useQuery(meQuery);
  const balance = me?.balance;
  if (typeof balance !== "string") {
    return null;
  }
  return (
    <Group gap={6} wrap="nowrap" px="xs" className={styles.balance}>
      <IconWallet size={18} role="img" aria-label={t("balance")} />
      <Text size="sm" fw={600} component="div">
        <Amount cny={balance} />
      </Text>
    </Group>
  );
}

function useLeave(): () => Promise<void> {
  const navigate = useNavigate();
  return async () => {
    await logout();
    await navigate({ to: "/login" });
  };
}

/** bare: with the way out alone. */
function PersonMenu({ bare }: { bare: boolean }) {
  const { t } = useTranslation("shell");
  const { data: me } = useQuery(meQuery);
  const leave = useLeave();
  const name = me?.name || me?.phone || me?.email || "";
  return (
    <Menu position="bottom-end" width={200}>
      <Menu.Target>
        <Button
          variant="subtle"
          color="gray"
          px="xs"
          aria-label={t("person", { name })}
          rightSection={<IconChevronDown size={14} aria-hidden />}
        >
          {name && <span className={styles.person}>{name}</span>}
          <IconUserCircle size={20} aria-hidden className={name && styles.figure} />
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        {!bare && (
          <Menu.Item
            renderRoot={(props) => <Link to="/console/account" {...props} />}
            leftSection={<IconUserCircle size={16} aria-hidden />}
          >
            {t("nav.account")}
          </Menu.Item>
        )}
        <Menu.Item leftSection={<IconLogout size={16} aria-hidden />} onClick={leave}>
          {t("logout")}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
