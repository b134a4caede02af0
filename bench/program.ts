/** Starts the programs that are measured, each in a process of its own, with its log in a file as in production. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export interface Program {
  pid: number
  stop(): Promise<void>
}

/** @param script path under the project's root @returns once it has written that it is ready */
export async function startProgram(input: {
  name: string
  script: string
  args: string[]
  env: Record<string, string>
  folder: string
}): Promise<Program> {
  const file = join(input.folder, `${input.name}.log`)
  const log = openSync(file, 'a')
  const script = fileURLToPath(new URL(`../${input.script}`, import.meta.url))
  const loader = script.endsWith('.ts') ? ['--import', 'tsx'] : []
  const child: ChildProcess = spawn(process.execPath, [...loader, script, ...input.args], {
    stdio: ['ignore', log, log],
    env: { PATH: process.env['PATH'], ...input.env },
  })
  closeSync(log)
  while (!readFileSync(file, 'utf8').includes('"msg":"ready"')) {
    if (child.exitCode !== null || child.pid === undefined)
      throw new Error(`${input.name} ended while starting:\n${readFileSync(file, 'utf8')}`)
    await pause(50)
  }
  return {
    pid: child.pid as number,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      const insist = setTimeout(() => child.kill('SIGKILL'), 40_000)
      child.kill('SIGTERM')
      await ended
      clearTimeout(insist)
    },
  }
}
