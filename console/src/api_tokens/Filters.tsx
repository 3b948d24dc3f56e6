import { Button, Group, NativeSelect, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { groupsQuery } from "./queries";
import { STATUSES, type TokenSearch } from "./search";

/** After so long without a key pressed it is looked for. */
const PAUSE_MS = 300;

interface FiltersProps {
  search: TokenSearch;
  onChange: (change: TokenSearch) => void;
}

export function Filters({ search, onChange }: FiltersProps) {
  const { t } = useTranslation("api_tokens");
  const { data: groups } = useQuery(groupsQuery);
  const [text, setText] = useState(search.q ?? "");
  const look = useDebouncedCallback((q: string) => onChange({ q: q || undefined }), PAUSE_MS);
  const isFiltered = Boolean(search.q || search.status || search.group);

  // The address was changed by something else, such as the back button.
  useEffect(() => setText(search.q ?? ""), [search.q]);

  return (
    <Group gap="sm" role="search" align="flex-start">
      <TextInput
        aria-label={t("filter.text")}
        placeholder={t("filter.text")}
        leftSection={<IconSearch size={16} aria-hidden />}
        value={text}
        maxLength={100}
        description={text.trim().length === 1 ? t("filter.short") : undefined}
        inputWrapperOrder={["input", "description"]}
        style={{ flex: "1 1 220px", maxWidth: 380 }}
        onChange={(event) => {
          setText(event.target.value);
          look(event.target.value.trim());
        }}
      />
      <NativeSelect
        aria-label={t("filter.status")}
        value={search.status ?? ""}
        data={[
          { value: "", label: t("filter.anyStatus") },
          ...STATUSES.map((value) => ({ value, label: t(`status.${value}`) })),
        ]}
        onChange={({ target }) =>
          onChange({ status: STATUSES.find((status) => status === target.value) })
        }
      />
      <NativeSelect
        aria-label={t("filter.group")}
        value={String(search.group ?? "")}
        data={[
          { value: "", label: t("filter.anyGroup") },
          ...(groups?.items ?? []).map(({ id, name }) => ({ value: String(id), label: name })),
        ]}
        onChange={({ target }) => onChange({ group: Number(target.value) || undefined })}
      />
      {isFiltered && (
        <Button
          variant="subtle"
          onClick={() => onChange({ q: undefined, status: undefined, group: undefined })}
        >
          {t("filter.clear")}
        </Button>
      )}
    </Group>
  );
}
