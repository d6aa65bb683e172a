import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

// Those of the judges have tests of their own.
const installed = "**/node_modules/**"
const microvm = "test/**/*.vm.test.ts"
const core = "test/**/*.core.vm.test.ts"
const host = "test/host/**"
// Whole processes, installations, and what is tried everywhere: they take their time.
const whole = "test/**/*.whole.test.ts"
// These mount file systems of their own.
const power = "test/**/*.power.test.ts"

// A process has one home for the SDK, and some tests look at what else is open in their process.
const alone = [
  "test/Lightbox/progress.test.ts",
  "test/MicrosandboxLocal/**/*.test.ts",
  "test/MicrosandboxPreview/layer.test.ts",
  "test/internal/guest/protocol.test.ts",
  "test/promise/native.test.ts"
]

// A booted microVM shares the processors with the tests: no time limit of ours may be what fails.
const patient = { testTimeout: 600_000, hookTimeout: 600_000, teardownTimeout: 60_000 }

export default defineConfig({
  test: {
    reporters: ["default"],
    pool: "forks",
    // Much of a test is waiting, for processes for one: that leaves room for others.
    maxWorkers: "150%",
    // Many tests start processes, and each would compile all of Effect again.
    env: {
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? fileURLToPath(new URL(".cache/compiled", import.meta.url))
    },
    // For information: `npm run coverage`.
    coverage: {
      include: ["src/**/*.ts"],
      reporter: ["text-summary", "html"],
      reportsDirectory: fileURLToPath(new URL(".cache/coverage", import.meta.url))
    },
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/**/*.test.ts", "examples/**/*.test.ts"],
          exclude: [installed, microvm, host, whole, power, ...alone],
          // To load Effect and the library again for each file takes longer than most tests.
          isolate: false,
          testTimeout: 60_000
        }
      },
      { extends: true, test: { name: "alone", include: alone, exclude: [microvm, whole, power], testTimeout: 60_000 } },
      { extends: true, test: { name: "whole", include: [whole], exclude: [installed], testTimeout: 120_000 } },
      { extends: true, test: { name: "power", include: [power], exclude: [installed], testTimeout: 240_000 } },
      { extends: true, test: { name: "core", include: [core], exclude: [installed], ...patient } },
      { extends: true, test: { name: "microvm", include: [microvm], exclude: [installed, core], ...patient } },
      { extends: true, test: { name: "host", include: ["test/host/**/*.test.ts"], ...patient } }
    ]
  }
})
