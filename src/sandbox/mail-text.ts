/** Reads a mail as far as the sandbox's mailbox shows it: a few headers, the text and the HTML. */

export interface ReadMail {
  from: string
  to: string
  subject: string
  messageId: string
  text: string
  html: string
}

/** @param source as it came over SMTP */
export function readMail(source: string): ReadMail {
  const { headers, body } = partOf(source)
  const header = (name: string) => decodeWords(headers.get(name) ?? '')
  const read = { text: '', html: '' }
  collect(headers, body, read)
  return {
    from: header('from'),
    to: header('to'),
    subject: header('subject'),
    messageId: header('message-id'),
    ...read,
  }
}

function partOf(source: string): { headers: Map<string, string>; body: string } {
  const at = /\r?\n\r?\n/.exec(source)
  const head = at === null ? source : source.slice(0, at.index)
  const unfolded = head.replace(/\r?\n(?=[ \t])/g, '')
  const headers = new Map(
    unfolded.split(/\r?\n/).map((line): [string, string] => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    }),
  )
  return { headers, body: at === null ? '' : source.slice(at.index + at[0].length) }
}

function collect(headers: Map<string, string>, body: string, read: { text: string; html: string }): void {
  const type = headers.get('content-type') ?? 'text/plain'
  const boundary = /boundary="?([^";]+)"?/i.exec(type)?.[1]
  if (/^multipart\//i.test(type) && boundary !== undefined) {
    const [, ...parts] = body.split(`--${boundary}`)
    for (const part of parts) {
      if (part.startsWith('--')) break
      const inner = partOf(part.replace(/^\r?\n/, ''))
      collect(inner.headers, inner.body, read)
    }
  } else if (/^text\/html/i.test(type)) read.html = decoded(headers, body)
  else if (/^text\/plain/i.test(type)) read.text = decoded(headers, body)
}

function decoded(headers: Map<string, string>, body: string): string {
  const encoding = headers.get('content-transfer-encoding')?.toLowerCase()
  if (encoding === 'base64') return Buffer.from(body, 'base64').toString('utf8')
  // the break before the boundary is the boundary's
  const content = body.replace(/\r?\n$/, '')
  return encoding === 'quoted-printable' ? unquote(content.replace(/=\r?\n/g, '')) : content
}

function unquote(text: string): string {
  const bytes = text.replace(/=([0-9A-F]{2})/gi, (_all, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

/** `=?UTF-8?B?…?=`: words of a header that are not ASCII. RFC 2047 */
function decodeWords(text: string): string {
  return text
    .replace(/\?=\s+=\?/g, '?==?')
    .replace(/=\?utf-8\?([bq])\?([^?]*)\?=/gi, (_all, how: string, word: string) =>
      how.toLowerCase() === 'b'
        ? Buffer.from(word, 'base64').toString('utf8')
        : unquote(word.replaceAll('_', ' ')),
    )
}
