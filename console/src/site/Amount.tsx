import { Text, Tooltip } from "@mantine/core";
import { useMoney } from "./queries";

/** An amount with two digits. Pointing at it, or going there with Tab, tells all of them. */
export function Amount({ cny }: { cny: string }) {
  const money = useMoney();
  return (
    <Tooltip label={money(cny)} events={{ hover: true, focus: true, touch: true }}>
      <Text span inherit tabIndex={0} style={{ whiteSpace: "nowrap" }}>
        {money(cny, 2)}
      </Text>
    </Tooltip>
  );
}
