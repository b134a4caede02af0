/** Which URLs a webhook may be sent to, as far as the URL itself tells; what its name resolves to is looked at when it is. */

/**
 * @param anywhere whether plain http and our own network are allowed: in the sandbox only
 * @returns why not; undefined: it may
 */
export function receiverUrlRefusal(text: string, anywhere: boolean): string | undefined {
  if (!URL.canParse(text)) return 'expected an absolute URL'
  const { protocol, username, password, hostname, hash } = new URL(text)
  if (protocol !== 'https:' && !(anywhere && protocol === 'http:')) return 'expected https'
  if (username !== '' || password !== '') return 'expected no user and password: deliveries are signed'
  if (hash !== '') return 'expected no fragment'
  if (anywhere) return undefined
  // no certificate is made out to these, and none of them is a public name
  if (/^\[|^[\d.]+$/.test(hostname)) return 'expected a name, not an address'
  if (!hostname.includes('.') || /(^|\.)(localhost|local|internal)\.?$/.test(hostname)) {
    return 'expected a public name'
  }
  return undefined
}
