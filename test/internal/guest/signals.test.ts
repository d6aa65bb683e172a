import { assert, describe, it } from "@effect/vitest"
import { endsProcess, fromKernelLog, named, statusOf } from "../../../src/internal/config/signals.ts"

describe("signals", () => {
  it("have one name each, or a number", () => {
    assert.deepStrictEqual([6, 9, 29, 40, "SIGTERM" as const].map(named), [
      "SIGABRT",
      "SIGKILL",
      "SIGIO",
      40,
      "SIGTERM"
    ])
  })

  it("end a process, with exceptions", () => {
    assert.isTrue(endsProcess("SIGKILL") && endsProcess(15) && endsProcess(40))
    assert.isFalse(endsProcess("SIGCONT") || endsProcess(28) || endsProcess("SIGSTOP"))
  })

  it("map to the exit status of a shell", () => {
    assert.strictEqual(statusOf({ exitCode: 3, signal: undefined }), 3)
    assert.strictEqual(statusOf({ exitCode: -1, signal: "SIGKILL" }), 137)
    assert.strictEqual(statusOf({ exitCode: -1, signal: 40 }), 168)
    assert.strictEqual(statusOf({ exitCode: -1, signal: undefined }), 255)
  })

  it.each([
    ["[  12.3] Out of memory: Killed process 71 (node) total-vm:1084216kB, anon-rss:400kB", "SIGKILL"],
    ["[  12.3] Memory cgroup out of memory: Killed process 71 (node) total-vm:1084216kB", "SIGKILL"],
    ["[  12.3] app[71]: segfault at 0 ip 000055d0 sp 00007ffd error 6 in app[55d0+1000]", "SIGSEGV"],
    ["[  12.3] traps: app[71] general protection fault ip:55d0 sp:7ffd error:0 in app[55d0+1000]", "SIGSEGV"],
    ["[  12.3] traps: app[71] trap invalid opcode ip:55d0 sp:7ffd error:0 in app[55d0+1000]", "SIGILL"],
    ["[  12.3] traps: app[71] trap divide error ip:55d0 sp:7ffd error:0 in app[55d0+1000]", "SIGFPE"],
    ["[  12.3] traps: app[71] trap int3 ip:55d0 sp:7ffd error:0 in app[55d0+1000]", "SIGTRAP"]
  ])("are found in the kernel's log: %s", (line, signal) => {
    const log = `[   1.0] Linux version 6.12\n${line}\n[  13.0] later\n`
    assert.strictEqual(fromKernelLog(log, 71), signal)
    for (const other of [7, 1, 710]) assert.isUndefined(fromKernelLog(log, other))
  })
})
