import { Anchor, Box, Button, Group } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { Announcement } from "../site/Announcement";
import { Brand } from "../site/Brand";
import { Footer } from "../site/Footer";
import { PlainHttp } from "../site/PlainHttp";
import { siteQuery } from "../site/queries";
import { LanguageMenu, ThemeMenu } from "./Controls";
import styles from "./PublicFrame.module.css";

/** Around the pages that anybody sees: the top bar, with Register at its right end. */
export function PublicFrame() {
  const { t } = useTranslation("shell");
  const { data: site } = useQuery(siteQuery);
  return (
    <Box className={styles.page}>
      <a href="#main" className="aipool-skip">
        {t("skip")}
      </a>
      <Group component="header" className={styles.bar} justify="space-between" wrap="nowrap">
        <Link to="/login" className={styles.brand}>
          <Brand />
        </Link>
        <Group gap="xs" wrap="nowrap">
          <LanguageMenu />
          <ThemeMenu />
          <Anchor
            className={styles.login}
            renderRoot={(props) => <Link to="/login" {...props} />}
            size="sm"
            fw={500}
          >
            {t("login")}
          </Anchor>
          {site?.registration.mode !== "closed" && (
            <Button renderRoot={(props) => <Link to="/register" {...props} />}>
              {t("register")}
            </Button>
          )}
        </Group>
      </Group>
      <main id="main" className={styles.main} tabIndex={-1}>
        <div className={styles.column}>
          <PlainHttp />
          <Announcement />
          <Outlet />
        </div>
      </main>
      <Footer />
    </Box>
  );
}
