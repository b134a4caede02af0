/**
 * Owns how log lines are written: JSON, ISO times, and nothing personal or secret in them (law 13).
 * What to log is the caller's business; ids of ours and Stripe's are welcome, names and addresses are not.
 */
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { type DestinationStream, destination as fileStream, type Logger, pino } from 'pino'
import type { LogLevel } from './config.ts'

export type { Logger } from 'pino'

/** Fields that are blanked wherever a caller puts them, up to three levels deep. */
const SECRET_FIELDS = [
  'authorization',
  'cookie',
  'set-cookie',
  'stripe-signature',
  'email',
  'receipt_email',
  'password',
]

const REDACTED_PATHS = SECRET_FIELDS.flatMap((field) => {
  const key = field.includes('-') ? `["${field}"]` : field
  const under = (prefix: string) => (key.startsWith('[') ? `${prefix}${key}` : `${prefix}.${key}`)
  return [key, under('*'), under('*.*'), under('*.*.*')]
})

/** Addresses inside free text, such as a message of Postgres or Stripe that quotes one. */
const EMAIL_IN_TEXT = /[\w.+%-]+@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}/gi
/** The password part of a connection string. */
const PASSWORD_IN_URL = /(:\/\/[^:/\s"]+:)[^@/\s"]+@/g

const clean = (line: string): string =>
  line.includes('@') ? line.replace(PASSWORD_IN_URL, '$1[redacted]@').replace(EMAIL_IN_TEXT, '[email]') : line

/**
 * A logger for one process.
 * @param destination where lines go: a file path (its folder is made, lines are appended), a stream, or
 *   standard output when left out.
 */
export function createLogger(level: LogLevel, destination?: string | DestinationStream): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED_PATHS, censor: '[redacted]' },
      hooks: { streamWrite: clean },
    },
    typeof destination === 'string'
      ? gathered(appendTo(destination))
      : (destination ?? gathered(fileStream(1))),
  )
}

let written = { at: 0, text: '' }

/** The time as a line has it, written once a millisecond. */
function isoTime(): string {
  const at = Date.now()
  if (at !== written.at) written = { at, text: `,"time":"${new Date(at).toISOString()}"` }
  return written.text
}

/** Synchronous on purpose: the last lines before a crash are the ones that matter. */
function appendTo(path: string): DestinationStream {
  mkdirSync(dirname(path), { recursive: true })
  return fileStream({ dest: path, append: true, sync: true })
}

/** How long lines are gathered: what a process that is killed may leave unsaid. */
const GATHERED_MS = 10

/** What is still to be written, by every logger of the process. */
const unwritten = new Set<() => void>()
// whoever ends the process in the middle of it, or has nothing else to do
process.on('exit', () => {
  for (const write of unwritten) write()
})

/** Lines of a moment in one write: under load a write each, or one a turn of the event loop, would be a tenth of a request. */
function gathered(stream: DestinationStream): DestinationStream {
  let lines = ''
  const write = () => {
    unwritten.delete(write)
    stream.write(lines)
    lines = ''
  }
  return {
    write(line) {
      if (lines === '') {
        unwritten.add(write)
        setTimeout(write, GATHERED_MS).unref()
      }
      lines += line
    },
  }
}
