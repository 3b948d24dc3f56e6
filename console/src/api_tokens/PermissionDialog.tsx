import { Modal, Skeleton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { ProblemAlert } from "../kit/ProblemAlert";
import { PermissionView } from "./PermissionView";
import { permissionQuery, type Token } from "./queries";

/** What a token can do at this moment. */
export function PermissionDialog({ token, onClose }: { token: Token; onClose: () => void }) {
  const { t } = useTranslation(["api_tokens", "kit"]);
  const { data, error } = useQuery(permissionQuery(token.id));
  return (
    <Modal
      opened
      onClose={onClose}
      title={t("permission.title", { name: token.name })}
      closeButtonProps={{ "aria-label": t("kit:close") }}
    >
      <ProblemAlert error={error} />
      {data ? <PermissionView permission={data} whole /> : <Skeleton height={120} />}
    </Modal>
  );
}
