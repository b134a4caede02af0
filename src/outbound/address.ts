/**
 * Which addresses a webhook may go to. A URL is a caller's word, so what it resolves to is checked at the moment of
 * connecting: a name that pointed outside a moment ago may point at our own network now.
 */
import { lookup as resolve } from 'node:dns'
import { BlockList, isIP, isIPv6, type LookupFunction } from 'node:net'

const CLOSED = new BlockList()
// iana.org/assignments/iana-ipv4-special-registry: whatever is not for everybody
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const)
  CLOSED.addSubnet(net, bits, 'ipv4')
// iana.org/assignments/iana-ipv6-special-registry: tunnels, documentation; outside 2000::/3 nothing is public at all
for (const [net, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const)
  CLOSED.addSubnet(net, bits, 'ipv6')
const PUBLIC_V6 = new BlockList()
PUBLIC_V6.addSubnet('2000::', 3, 'ipv6')

/** Whether an IP address is one that anybody on the internet can reach. */
export function isPublic(address: string): boolean {
  if (isIPv6(address)) return PUBLIC_V6.check(address, 'ipv6') && !CLOSED.check(address, 'ipv6')
  return isIP(address) === 4 && !CLOSED.check(address, 'ipv4')
}

export class ClosedAddress extends Error {
  override name = 'ClosedAddress'
}

/** Resolves a name as Node does, and answers only addresses that are public; when none is, it fails. */
export const publicLookup: LookupFunction = (hostname, options, callback) => {
  resolve(hostname, { ...options, all: true }, (error, found) => {
    if (error !== null) return callback(error, '', 0)
    const open = found.filter(({ address }) => isPublic(address))
    const [first] = open
    if (first === undefined) {
      return callback(new ClosedAddress('the name resolves to no public address'), '', 0)
    }
    if (options.all === true) callback(null, open)
    else callback(null, first.address, first.family)
  })
}
