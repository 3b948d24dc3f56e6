import { Button, Checkbox, Group, Skeleton, Stack } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "../api/client";
import { ProblemAlert } from "../kit/ProblemAlert";
import { queries } from "../kit/queries";
import { siteQuery } from "../site/queries";
import { AgreeWords } from "./AgreeWords";

/** Agreement to the terms that are in force by now. */
export function AgreeForm({ onDone }: { onDone: () => Promise<void> }) {
  const { t } = useTranslation("accounts");
  // Which versions they are must not be an older answer.
  const { data: site, error } = useQuery({ ...siteQuery, staleTime: 0 });
  const [agreed, setAgreed] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  if (!site) {
    return error ? <ProblemAlert error={error} /> : <Skeleton height={140} />;
  }

  async function submit(event: FormEvent, versions: { terms: string; privacy: string }) {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      const body = { terms_version: versions.terms, privacy_version: versions.privacy };
      await api.PATCH("/api/me", { body });
      await onDone();
    } catch (refusal) {
      setProblem(refusal);
      // They changed once more: whoever tries again agrees to those.
      setAgreed(false);
      await queries.invalidateQueries({ queryKey: siteQuery.queryKey });
    } finally {
      setBusy(false);
    }
  }

  const versions = { terms: site.terms_version, privacy: site.privacy_version };
  return (
    <form
      className="aipool-card"
      style={{ padding: 24 }}
      onSubmit={(event) => submit(event, versions)}
    >
      <Stack>
        <Checkbox
          label={<AgreeWords site={site} />}
          checked={agreed}
          onChange={(event) => setAgreed(event.target.checked)}
        />
        <ProblemAlert error={problem} />
        <Group>
          <Button type="submit" loading={busy} disabled={!agreed}>
            {t("demand.agree")}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
