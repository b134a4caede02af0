/** Owns the small files of the sandbox's data folder: secrets that survive a restart, and who is using it. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { commandLineOf } from './child.ts'

/**
 * The secret kept in `<dataDir>/<name>`, made and kept when there is none yet. Only our user may read it.
 * @param make makes the secret; by default 32 random bytes as base64url
 */
export function keptSecret(
  dataDir: string,
  name: string,
  make = () => randomBytes(32).toString('base64url'),
): string {
  const file = join(dataDir, name)
  const kept = readIfThere(file)?.trim()
  if (kept) return kept
  const secret = make()
  keepSecret(dataDir, name, secret)
  return secret
}

/** Keeps `secret` in `<dataDir>/<name>`, readable by our user only. */
export function keepSecret(dataDir: string, name: string, secret: string): void {
  mkdirSync(dataDir, { recursive: true, mode: 0o711 })
  writeFileSync(join(dataDir, name), `${secret}\n`, { mode: 0o600 })
}

/** The contents of a file, or undefined when it does not exist. */
export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * Makes this process the only one that uses `dataDir`. A file left by a crashed run is taken over: its
 * process is gone, or its number now belongs to a program with another command line.
 * @returns gives the folder back
 * @throws when another process is using it
 */
export function claimDataDir(dataDir: string): () => void {
  mkdirSync(dataDir, { recursive: true, mode: 0o711 })
  const file = join(dataDir, 'perennial.pid')
  const [pid = '', ...command] = (readIfThere(file) ?? '').split('\n')
  if (pid && Number(pid) !== process.pid && commandLineOf(Number(pid)) === command.join('\n').trimEnd()) {
    throw new Error(
      `${dataDir} is in use by process ${pid}; stop it, or set PERENNIAL_DATA_DIR to another folder`,
    )
  }
  writeFileSync(file, `${process.pid}\n${commandLineOf(process.pid) ?? ''}\n`, { mode: 0o600 })
  return () => rmSync(file, { force: true })
}
