import { Alert } from "@mantine/core";
import { IconLockOpen } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";

const LOOPBACK = /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])$/;

/** Can others on the way read what is sent to this address? */
function isReadable({ protocol, hostname }: Location): boolean {
  return protocol === "http:" && !LOOPBACK.test(hostname);
}

/** Warns where passwords and keys travel readable. */
export function PlainHttp() {
  const { t } = useTranslation("site");
  if (!isReadable(window.location)) {
    return null;
  }
  return (
    <Alert
      color="red"
      mb="md"
      icon={<IconLockOpen size={20} aria-hidden />}
      title={t("plainHttp.title")}
    >
      {t("plainHttp.text")}
    </Alert>
  );
}
