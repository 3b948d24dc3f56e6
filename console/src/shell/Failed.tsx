import { Box } from "@mantine/core";
import { ProblemAlert } from "../kit/ProblemAlert";

/** A page that could not be shown: why, and a way to try again. */
export function Failed({ error, reset }: { error: unknown; reset: () => void }) {
  return (
    <Box component="main" p="xl" maw={640} mx="auto">
      <ProblemAlert error={error} onRetry={reset} />
    </Box>
  );
}
