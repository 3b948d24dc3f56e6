// A table over a list that the server pages, sorts and filters. Under 640 px a row is a card.
// Its roles are written out, because a browser forgets them where a row is no longer drawn as one.

import { ActionIcon, Button, Checkbox, Group, Menu, Skeleton, Text } from "@mantine/core";
import { IconArrowDown, IconArrowsSort, IconArrowUp, IconColumns } from "@tabler/icons-react";
import { memo, type ReactNode, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import styles from "./DataTable.module.css";
import { keep, kept } from "./stored";

/** How a list is ordered: the server's word, and which way. */
export interface Order {
  by: string;
  descending: boolean;
}

export interface Column<Row> {
  key: string;
  title: string;
  cell: (row: Row) => ReactNode;
  /** The server's word to sort by it; without it the column is not sorted by. */
  sort?: string;
  /** Cannot be hidden. */
  fixed?: boolean;
}

interface DataTableProps<Row> {
  /** Under which the browser remembers the columns. */
  name: string;
  caption: string;
  columns: Column<Row>[];
  rows: Row[] | undefined;
  idOf: (row: Row) => number;
  nameOf: (row: Row) => string;
  total?: number | null;
  order: Order;
  onOrder: (order: Order) => void;
  selected: ReadonlySet<number>;
  onSelect: (ids: ReadonlySet<number>) => void;
  /** What can be done with those that are selected. */
  bulk: ReactNode;
  onMore?: () => void;
  busy?: boolean;
}

const SKELETONS = [1, 2, 3, 4];

export function DataTable<Row>(props: DataTableProps<Row>) {
  const { t } = useTranslation();
  const { columns, rows, selected, idOf } = props;
  const [hidden, setHidden] = useHidden(props.name);
  const shown = useMemo(
    () => columns.filter((column) => !hidden.has(column.key)),
    [columns, hidden],
  );
  const ids = (rows ?? []).map(idOf);
  const all = ids.length > 0 && ids.every((id) => selected.has(id));

  const latest = useRef(props);
  useEffect(() => {
    latest.current = props;
  });
  const toggle = useCallback((id: number) => {
    const next = new Set(latest.current.selected);
    if (!next.delete(id)) {
      next.add(id);
    }
    latest.current.onSelect(next);
  }, []);

  return (
    <div>
      <Group
        justify="space-between"
        mb="xs"
        mih={34}
        className={styles.bar}
        data-selected={selected.size > 0 || undefined}
      >
        <Text size="sm" c="dimmed" role="status">
          {selected.size > 0
            ? t("table.selected", { count: selected.size })
            : rows && t("table.rows", { shown: rows.length, total: props.total ?? rows.length })}
        </Text>
        <Group gap="xs">
          {selected.size > 0 && props.bulk}
          <ColumnChooser columns={columns} hidden={hidden} onChange={setHidden} />
        </Group>
      </Group>
      <section className={`aipool-card ${styles.frame}`} tabIndex={0} aria-label={props.caption}>
        <table className={styles.table} role="table" aria-busy={props.busy}>
          <thead>
            <tr role="row">
              <th role="columnheader" className={styles.check}>
                <Checkbox
                  aria-label={t("table.selectAll")}
                  checked={all}
                  indeterminate={!all && selected.size > 0}
                  onChange={() => props.onSelect(new Set(all ? [] : ids))}
                />
              </th>
              {shown.map((column) => (
                <Head key={column.key} column={column} order={props.order} on={props.onOrder} />
              ))}
            </tr>
          </thead>
          <tbody>
            {rows === undefined &&
              SKELETONS.map((line) => (
                <tr key={line} aria-hidden>
                  <td colSpan={shown.length + 1}>
                    <Skeleton height={22} my={6} />
                  </td>
                </tr>
              ))}
            {rows?.map((row) => (
              <Line
                key={idOf(row)}
                id={idOf(row)}
                name={props.nameOf(row)}
                row={row}
                columns={shown}
                isSelected={selected.has(idOf(row))}
                onToggle={toggle}
              />
            ))}
          </tbody>
        </table>
      </section>
      {props.onMore && (
        <Group justify="center" mt="md">
          <Button variant="default" onClick={props.onMore} loading={props.busy}>
            {t("table.more")}
          </Button>
        </Group>
      )}
    </div>
  );
}

interface LineProps<Row> {
  id: number;
  name: string;
  row: Row;
  columns: Column<Row>[];
  isSelected: boolean;
  onToggle: (id: number) => void;
}

/** One row, drawn again only when it is another: hundreds of them are on a page. */
const Line = memo(function Line<Row>(props: LineProps<Row>) {
  const { t } = useTranslation();
  const { row, isSelected } = props;
  return (
    <tr role="row" data-selected={isSelected || undefined}>
      <td role="cell" className={styles.check}>
        <Checkbox
          aria-label={t("table.select", { name: props.name })}
          checked={isSelected}
          onChange={() => props.onToggle(props.id)}
        />
      </td>
      {props.columns.map((column) => (
        <td key={column.key} role="cell" data-label={column.title}>
          <div className={styles.value}>{column.cell(row)}</div>
        </td>
      ))}
    </tr>
  );
}) as <Row>(props: LineProps<Row>) => ReactNode;

interface HeadProps<Row> {
  column: Column<Row>;
  order: Order;
  on: (order: Order) => void;
}

function Head<Row>({ column, order, on }: HeadProps<Row>) {
  const { sort } = column;
  if (!sort) {
    return <th role="columnheader">{column.title}</th>;
  }
  const isIt = order.by === sort;
  const Icon = !isIt ? IconArrowsSort : order.descending ? IconArrowDown : IconArrowUp;
  const direction = order.descending ? "descending" : "ascending";
  return (
    <th role="columnheader" aria-sort={isIt ? direction : "none"}>
      <button
        type="button"
        className={styles.sort}
        onClick={() => on({ by: sort, descending: isIt ? !order.descending : true })}
      >
        {column.title}
        <Icon size={14} aria-hidden opacity={isIt ? 1 : 0.45} />
      </button>
    </th>
  );
}

interface ColumnChooserProps<Row> {
  columns: Column<Row>[];
  hidden: ReadonlySet<string>;
  onChange: (hidden: ReadonlySet<string>) => void;
}

function ColumnChooser<Row>({ columns, hidden, onChange }: ColumnChooserProps<Row>) {
  const { t } = useTranslation();

  function toggle(key: string) {
    const next = new Set(hidden);
    if (!next.delete(key)) {
      next.add(key);
    }
    onChange(next);
  }

  return (
    <Menu closeOnItemClick={false} position="bottom-end">
      <Menu.Target>
        <ActionIcon variant="default" size="lg" aria-label={t("table.columns")}>
          <IconColumns size={18} aria-hidden />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{t("table.columns")}</Menu.Label>
        {columns
          .filter((column) => !column.fixed)
          .map((column) => (
            <Menu.CheckboxItem
              key={column.key}
              checked={!hidden.has(column.key)}
              onChange={() => toggle(column.key)}
            >
              {column.title}
            </Menu.CheckboxItem>
          ))}
      </Menu.Dropdown>
    </Menu>
  );
}

function useHidden(name: string) {
  const place = `columns.${name}`;
  const [hidden, setHidden] = useState<ReadonlySet<string>>(
    () => new Set(kept(place).split(",").filter(Boolean)),
  );
  function set(next: ReadonlySet<string>) {
    keep(place, [...next].join(","));
    setHidden(next);
  }
  return [hidden, set] as const;
}
