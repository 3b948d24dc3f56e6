import "@mantine/core/styles/AppShell.css";
import "@mantine/core/styles/Burger.css";
import "@mantine/core/styles/NavLink.css";
import { AppShell, Burger, Button, Group, Menu, NavLink, Text, Tooltip } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconChevronDown, IconLogout, IconUserCircle, IconWallet } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { logout, meQuery, rememberLanguage } from "../accounts/queries";
import { Announcement } from "../site/Announcement";
import { Brand } from "../site/Brand";
import { useMoney } from "../site/queries";
import { LanguageMenu, ThemeMenu } from "./Controls";
import { NAVIGATION } from "./navigation";
import styles from "./Shell.module.css";

/** Around the pages of who is logged in. */
export function Shell() {
  const { t } = useTranslation("shell");
  const [opened, { toggle, close }] = useDisclosure();
  return (
    <AppShell
      header={{ height: 56 }}
      navbar={{ width: 220, breakpoint: "sm", collapsed: { mobile: !opened } }}
      padding={{ base: "md", sm: "lg" }}
    >
      <AppShell.Header className={styles.header}>
        <a href="#main" className="aipool-skip">
          {t("skip")}
        </a>
        <Group gap="sm" wrap="nowrap">
          <Burger
            opened={opened}
            onClick={toggle}
            hiddenFrom="sm"
            size="sm"
            aria-label={t("menu")}
            aria-expanded={opened}
          />
          <Brand short />
        </Group>
        <Group gap={4} wrap="nowrap">
          <Balance />
          <LanguageMenu onChange={rememberLanguage} />
          <ThemeMenu />
          <PersonMenu />
        </Group>
      </AppShell.Header>
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
      <AppShell.Main id="main" tabIndex={-1} className={styles.main}>
        <Announcement />
        <Outlet />
      </AppShell.Main>
    </AppShell>
  );
}

function Balance() {
  const { t } = useTranslation("shell");
  const money = useMoney();
  const { data: me } = useQuery(meQuery);
  const balance = me?.balance;
  if (typeof balance !== "string") {
    return null;
  }
  return (
    <Tooltip label={t("balanceExact", { amount: money(balance) })}>
      <Group gap={6} wrap="nowrap" px="xs" className={styles.balance}>
        <IconWallet size={18} aria-hidden />
        <Text size="sm" fw={600} aria-label={t("balance", { amount: money(balance, 2) })}>
          {money(balance, 2)}
        </Text>
      </Group>
    </Tooltip>
  );
}

function PersonMenu() {
  const { t } = useTranslation("shell");
  const navigate = useNavigate();
  const { data: me } = useQuery(meQuery);
  async function leave() {
    await logout();
    await navigate({ to: "/login" });
  }
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
          <span className={styles.person}>{name}</span>
          <IconUserCircle size={20} aria-hidden className={styles.figure} />
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item
          renderRoot={(props) => <Link to="/console/account" {...props} />}
          leftSection={<IconUserCircle size={16} aria-hidden />}
        >
          {t("nav.account")}
        </Menu.Item>
        <Menu.Item leftSection={<IconLogout size={16} aria-hidden />} onClick={leave}>
          {t("logout")}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
